"""Others write while we run: nobody is forgotten, and the proof says what it could not compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import psycopg
import pytest
from tests.faults.conftest import Migrate, asked
from tests.least import as_superuser

from opssight_migrate.engine import proof
from opssight_migrate.model.events import (
    BatchDone,
    Event,
    ProofStarted,
    StepFinished,
    TableCompared,
    unheard,
)
from opssight_migrate.postgres import journal, snapshots
from opssight_migrate.postgres.journal import Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.snapshots import Snapshot

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

# As the old release does it: it knows nothing of organizations.
LOW = """
INSERT INTO users (id, github_id, github_username, is_active, is_superuser, role_id,
       created_at, updated_at)
SELECT 3, 'low', 'low', true, false, min(id), now(), now() FROM roles WHERE name = 'MANAGER'
"""
NEW = """
INSERT INTO users (github_id, github_username, is_active, is_superuser, role_id,
       created_at, updated_at)
SELECT 'new', 'new', true, false, min(id), now(), now() FROM roles WHERE name = 'MANAGER'
"""
ROLE_OF = """
SELECT r.name::text, a.is_active
  FROM users AS u JOIN user_roles AS a ON a.user_id = u.id AND a.organization_id = u.organization_id
  JOIN roles AS r ON r.id = a.role_id
 WHERE u.github_username IN ('low', 'new')
"""
NOBODY_UNASSIGNED = """
SELECT count(*) FROM users AS u WHERE NOT EXISTS (SELECT FROM user_roles WHERE user_id = u.id)
"""
UPDATE = "UPDATE teams SET description = 'written by others' WHERE id = (SELECT min(id) FROM teams)"
RENAMED = "UPDATE users SET full_name = full_name || '!' WHERE id = 100002"
LAST_STEP = "initialise-audit"


class AtFirst:
    """Runs SQL in a session of its own at the first event that is like ``at``."""

    def __init__(self, conninfo: str, at: Callable[[Event], bool], query: str) -> None:
        self.conninfo = conninfo
        self.at = at
        self.query = query
        self.done = False

    def __call__(self, event: Event) -> None:
        if not self.done and self.at(event):
            self.done = True
            with psycopg.connect(as_superuser(self.conninfo), autocommit=True) as other:
                other.execute(self.query.encode())


def at_the_first_batch(event: Event) -> bool:
    return isinstance(event, BatchDone) and event.step_id == "assign-roles"


def after_assigning(event: Event) -> bool:
    return isinstance(event, StepFinished) and event.step_id == "assign-roles"


def test_a_user_who_appears_behind_the_cursor_is_assigned_in_the_same_run(
    crowded: str, migrated: Migrate
) -> None:
    insert = AtFirst(crowded, at_the_first_batch, LOW)

    ended = migrated(crowded, also=insert)

    assert insert.done
    assert ended.report.exit_code == 0, ended.report.diagnostics
    assert asked(crowded, ROLE_OF) == [("MANAGER", True)]
    assert asked(crowded, NOBODY_UNASSIGNED) == [(0,)]
    assert ended.report.proof is not None
    assert ended.report.proof.differing == ("users",)
    assert migrated(crowded).report.status == "nothing_to_do"


def test_a_user_whom_the_old_release_adds_after_the_step_is_assigned_by_the_next_run(
    crowded: str, migrated: Migrate
) -> None:
    insert = AtFirst(crowded, after_assigning, NEW)
    first = migrated(crowded, also=insert)
    assert first.report.exit_code == 0, first.report.diagnostics
    assert asked(crowded, ROLE_OF) == []

    second = migrated(crowded).report

    assert (second.exit_code, second.status) == (0, "ok"), second.diagnostics
    assert [(step.id, step.status) for step in second.steps] == [("assign-roles", "done")]
    assert [step.rows and step.rows.done for step in second.steps] == [1]
    assert asked(crowded, ROLE_OF) == [("MANAGER", True)]
    assert second.proof is not None
    assert second.proof.identical
    assert migrated(crowded).report.status == "nothing_to_do"


@pytest.mark.parametrize("query", [UPDATE, "DELETE FROM notification_logs", NEW])
def test_tables_that_others_wrote_to_are_named_and_the_run_ends_well(
    crowded: str, migrated: Migrate, query: str
) -> None:
    table = {UPDATE: "teams", NEW: "users"}.get(query, "notification_logs")
    write = AtFirst(crowded, at_the_first_batch, query)

    report = migrated(crowded, also=write).report

    assert write.done
    assert (report.exit_code, report.status) == (0, "ok"), report.diagnostics
    assert report.proof is not None
    assert (report.proof.identical, report.proof.differing) == (False, (table,))
    assert "21 of 22 tables: old columns identical" in report.proof.sentence
    assert f"written by others meanwhile, so not comparable: {table}" in report.proof.sentence


def test_a_writer_whose_session_stays_open_is_seen_as_well(crowded: str, migrated: Migrate) -> None:
    # A server counts at once what a session writes first, and what it writes within a second
    # after that only once the session was idle for ten.
    with psycopg.connect(as_superuser(crowded), autocommit=True) as pooled:

        def write(event: Event) -> None:
            if isinstance(event, ProofStarted):
                pooled.execute("DELETE FROM notification_logs")
                pooled.execute(UPDATE.encode())

        report = migrated(crowded, also=write).report

    assert (report.exit_code, report.status) == (0, "ok"), report.diagnostics
    assert report.proof is not None
    assert set(report.proof.differing) == {"notification_logs", "teams"}


@pytest.fixture
def taken(crowded: str, opened: Callable[[str], Session]) -> tuple[Session, tuple[Snapshot, ...]]:
    """A session, and the snapshot that a run took of the crowded database."""
    session = opened(crowded)
    journal.install(session)
    session.execute(
        "INSERT INTO opssight_migrate.installation (environment, system_identifier, database_oid)"
        " VALUES ('test', '', 0)"
    )
    facts = RunFacts(
        command="migrate",
        environment="test",
        tool_version="0",
        server_version="0",
        settings_digest="",
        plan_digest="",
        revision_from=None,
        revision_to="80bd6a3c3fa1",
    )
    return session, proof.take(session, Journal.begin(session, facts), unheard)


def test_a_table_that_nobody_touched_is_identical(
    taken: tuple[Session, tuple[Snapshot, ...]],
) -> None:
    session, before = taken

    verdict = proof.compare(session, before, unheard)

    assert verdict.proof.identical
    assert (verdict.lost, verdict.proof.tables) == ((), 22)


def test_a_row_that_changed_though_nobody_else_wrote_is_told_as_different(
    crowded: str, taken: tuple[Session, tuple[Snapshot, ...]]
) -> None:
    session, before = taken
    asked(crowded, RENAMED)
    # The counter as it is after the change stands for a change that no counter tells of.
    written = counted(session, "users", above=writes_of(before, "users"))
    unaware = [
        replace(one, writes=written if one.table == "users" else one.writes) for one in before
    ]
    compared: list[Event] = []

    verdict = proof.compare(session, unaware, compared.append)

    assert verdict.lost == ("users",)
    assert not verdict.proof.identical
    assert "DIFFERENT though nobody else wrote: users" in verdict.proof.sentence
    unequal = [e.table for e in compared if isinstance(e, TableCompared) and not e.equal]
    assert unequal == ["users"]


def test_after_a_run_that_was_broken_off_others_are_not_blamed_alone(
    crowded: str, taken: tuple[Session, tuple[Snapshot, ...]]
) -> None:
    session, before = taken
    asked(crowded, RENAMED)

    told = proof.compare(session, before, unheard, resumed=True).proof.sentence

    assert "written by others meanwhile, or by the run that was broken off, so not" in told


def test_a_change_that_is_our_own_is_not_put_down_to_others(
    taken: tuple[Session, tuple[Snapshot, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, before = taken
    session.accounting = partial(snapshots.counting_ours, session, before[0].run_id)
    with session.writing():
        session.execute(RENAMED)
    session.accounting = None
    counted(session, "users", above=writes_of(before, "users"))
    monkeypatch.setattr(proof, "_STATISTICS_S", 0.0)

    verdict = proof.compare(session, before, unheard)

    assert verdict.lost == ("users",)
    assert "DIFFERENT though nobody else wrote: users" in verdict.proof.sentence


def writes_of(before: tuple[Snapshot, ...], table: str) -> int:
    """Return the count of a table at the time of the snapshot."""
    return next(one.writes for one in before if one.table == table)


def counted(session: Session, table: str, *, above: int) -> int:
    """Wait until the server has published the write, and return its count."""
    while (now := snapshots.writes_by_table(session)[table]) <= above:
        pass
    return now
