"""What the tests of faults share: a database with batches in it, its end, and its victims.

The runs work as the role of ``tests/least.py``; who disturbs them and looks is the superuser.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, Protocol

import psycopg
import pytest
from tests.conftest import SettingsFor
from tests.faults.victim import REACHED, Point, agreed
from tests.least import WORKER, LeastAt, Place, as_superuser, derived, role_of

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import Emit, Event, unheard
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.golden import Catalogue, golden
from opssight_migrate.opssight.revisions import START
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import digest, reader
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.session import Session

VICTIM = Path(__file__).with_name("victim.py")

# A batch takes 500 rows at first: these make three of them, with gaps for rows to appear in.
MORE_USERS = """
INSERT INTO users (id, github_id, github_username, email, full_name, is_active, is_superuser,
       role_id, created_at, updated_at)
SELECT 100000 + 2 * n, 'more' || n, 'more' || n, 'more' || n || '@example.com', 'More ' || n,
       n % 10 > 0, false, (SELECT min(id) FROM roles WHERE name = 'ENGINEER'),
       timestamptz '2026-01-01 00:00:00+00', timestamptz '2026-01-02 00:00:00+00'
  FROM generate_series(1, 1500) AS n
"""
# Surrogate ids and times are left out; what they point at stands in their place.
_ORGANIZATIONS = """
SELECT to_jsonb(o) - 'id' - 'created_at' - 'updated_at' FROM organizations AS o ORDER BY o.slug
"""
_USER_ROLES = """
SELECT r.user_id, r.role_id, o.slug, r.assigned_by, r.notes, r.is_active, r.expires_at
  FROM user_roles AS r JOIN organizations AS o ON o.id = r.organization_id
 ORDER BY 1, 2, 3
"""
_CONFIGURATIONS = """
SELECT o.slug, to_jsonb(c) - 'id' - 'organization_id' - 'created_at' - 'updated_at'
  FROM audit_configurations AS c JOIN organizations AS o ON o.id = c.organization_id
 ORDER BY o.slug, c.table_name, c.operation
"""
_AUDIT = """
SELECT operation::text, severity::text, table_name, record_id, description, category
  FROM audit_logs WHERE record_id <> correlation_id ORDER BY description
"""
# What a run says of itself is about the run.
_TRACES = """
SELECT correlation_id, description FROM audit_logs
 WHERE record_id = correlation_id ORDER BY timestamp
"""
_RUINS = """
SELECT i.relname::text FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE NOT x.indisvalid OR i.relname ~ '_twin$|_cc(new|old)[0-9]*$'
"""
_TWICE = """
SELECT user_id, organization_id FROM user_roles GROUP BY 1, 2 HAVING count(*) > 1
"""
_RUNS = "SELECT id, status, lineage FROM opssight_migrate.runs ORDER BY epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that a run is to leave in the same state, disturbed or not."""

    revision: str
    catalogue: Catalogue
    old_columns: dict[str, TableDigest]
    organizations: list[Any]
    user_roles: list[Any]
    configurations: list[Any]
    audit_of_steps: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that ended in this process: its report and all that it told."""

    report: Report
    events: list[Event] = field(default_factory=list[Event])

    def of(self, kind: type[Event]) -> list[Any]:
        """Return the events of one class."""
        return [event for event in self.events if isinstance(event, kind)]


class Migrate(Protocol):
    """Migrate in this process; ``also`` hears each event after it was noted."""

    def __call__(self, conninfo: str, also: Emit = ..., **tables: object) -> Ended: ...


Start = Callable[[Point], "subprocess.Popen[str]"]


def asked(conninfo: str, query: LiteralString) -> list[Any]:
    """Run one statement in a superuser's session; return its rows, if it has any."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


def outcome(conninfo: str) -> Outcome:
    """Read what a run left, after making sure that it left no ruins."""
    assert asked(conninfo, _RUINS) == []
    assert asked(conninfo, _TWICE) == []
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        with session.reading():
            return Outcome(
                revision=session.scalar("SELECT version_num FROM alembic_version"),
                catalogue=reader.read_catalogue(session),
                old_columns=_old_columns(session),
                organizations=session.rows(_ORGANIZATIONS),
                user_roles=session.rows(_USER_ROLES),
                configurations=session.rows(_CONFIGURATIONS),
                audit_of_steps=session.rows(_AUDIT),
            )


def digests(conninfo: str) -> dict[str, TableDigest]:
    """Digest the 22 tables of the start over the columns that they had there."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        with session.reading():
            return _old_columns(session)


def _old_columns(session: Session) -> dict[str, TableDigest]:
    tables = golden(START)["tables"]
    columns = {t: [column["name"] for column in tables[t]["columns"]] for t in TABLES_AT_START}
    return digest.digest_database(session, columns)


@contextmanager
def written_to(conninfo: str, process: subprocess.Popen[str]) -> Iterator[None]:
    """Hold a transaction that wrote to users, from the point where ``process`` waits for it.

    CREATE INDEX CONCURRENTLY on users waits for its end.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == REACHED
    with psycopg.connect(as_superuser(conninfo)) as writer:
        writer.execute("UPDATE users SET bio = bio WHERE id = 100002")
        process.stdin.write("go on\n")
        process.stdin.flush()
        yield
        writer.rollback()


def runs(conninfo: str) -> list[tuple[str, str, list[str]]]:
    """Return id, status and lineage of each run in the journal."""
    return asked(conninfo, _RUNS)


def traces(conninfo: str) -> list[tuple[str, str]]:
    """Return what each run left of itself in the audit log: the run and the sentence."""
    return asked(conninfo, _TRACES)


@pytest.fixture(scope="session")
def crowded_by(server: Cluster, least_at: LeastAt) -> Callable[[str], Place]:
    """Name a role's place at the start with 1,500 users beyond the sample's."""

    @cache
    def place(role: str) -> Place:
        found, conninfo = derived(server, least_at(START, True, role), f"crowded_by_{role}")
        asked(conninfo, MORE_USERS)
        return found

    return place


@pytest.fixture
def crowded(
    request: pytest.FixtureRequest,
    opened_place: Callable[[Place], str],
    crowded_by: Callable[[str], Place],
) -> str:
    """A database at the start in which assign-roles needs several batches."""
    return opened_place(crowded_by(role_of(request)))


@pytest.fixture
def migrated(settings_for: SettingsFor) -> Migrate:
    """Migrate the database of a conninfo in this process."""

    def run(conninfo: str, also: Emit = unheard, **tables: object) -> Ended:
        settings = settings_for(conninfo, **tables)
        events: list[Event] = []

        def emit(event: Event) -> None:
            events.append(event)
            also(event)

        report = migrate(
            settings,
            settings.profile(None),
            MigrateRequest(),
            confirm=agreed,
            emit=emit,
        )
        return Ended(report=report, events=events)

    return run


@pytest.fixture(scope="session")
def _undisturbed_once(
    server: Cluster, crowded_by: Callable[[str], Place]
) -> Callable[[Migrate], Outcome]:
    known: list[Outcome] = []

    def of(run: Migrate) -> Outcome:
        if not known:
            _, conninfo = derived(server, crowded_by(WORKER), "undisturbed")
            report = run(conninfo).report
            assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
            known.append(outcome(conninfo))
        return known[0]

    return of


@pytest.fixture
def undisturbed(_undisturbed_once: Callable[[Migrate], Outcome], migrated: Migrate) -> Outcome:
    """What a run that nobody disturbs makes of a ``crowded`` database."""
    return _undisturbed_once(migrated)


@pytest.fixture
def victim() -> Iterator[Start]:
    """Start runs in processes of their own, given a Point; none outlives the test."""
    with ExitStack() as stack:

        def start(point: Point) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, os.fspath(VICTIM), point.as_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            stack.callback(_ended, process)
            return process

        yield start


def _ended(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()
