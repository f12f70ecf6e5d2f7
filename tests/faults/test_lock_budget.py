"""A lock that does not come within its budget ends the run; nobody queues behind us meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest
from tests.faults.conftest import Ended, Migrate, Outcome, asked, digests, outcome, runs
from tests.least import as_superuser

from opssight_migrate.model.events import Event, LockAwaited, RunStarted, StatementStarted

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_further_grants("pg_monitor: it says what others are doing")

STAMP = "SELECT version_num FROM alembic_version"
HALF_DONE = """
SELECT count(*) FROM information_schema.columns
 WHERE table_schema = 'public' AND table_name = 'users' AND column_name = 'organization_id'
"""
# What a reader bears; counted by the server, so that a busy machine is not taken for a queue.
BEARS = "SET lock_timeout = '200ms'"


@dataclass
class Reads:
    """How often users was read, and the reads that would have waited longer than they bear."""

    done: int = 0
    given_up: list[psycopg.Error] = field(default_factory=list[psycopg.Error])


@contextmanager
def sleeper(conninfo: str, query: str, *, level: str = "READ COMMITTED") -> Iterator[int]:
    """Keep a transaction open that ran ``query``; give its pid."""
    with psycopg.connect(
        as_superuser(conninfo), application_name="nightly-report", autocommit=True
    ) as other:
        other.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        other.execute(query.encode())
        yield other.info.backend_pid
        other.execute("ROLLBACK")


@contextmanager
def reading(conninfo: str) -> Iterator[Reads]:
    """Read users again and again in another session."""
    reads = Reads()
    stop = threading.Event()

    def read() -> None:
        with psycopg.connect(as_superuser(conninfo), autocommit=True) as reader:
            reader.execute(BEARS)
            while not stop.is_set():
                try:
                    reader.execute("SELECT id FROM users WHERE id = 100002").fetchall()
                    reads.done += 1
                except psycopg.errors.LockNotAvailable as error:
                    reads.given_up.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield reads
    finally:
        stop.set()
        thread.join()


def assert_out_of_budget(ended: Ended, *named: str) -> None:
    """The run ended as busy, and its message has everything in it that was ``named``."""
    assert (ended.report.exit_code, ended.report.status) == (6, "partial"), ended.report.diagnostics
    (told,) = [told for told in ended.report.diagnostics if told.severity == "error"]
    assert told.code == "OM402"
    assert [word for word in named if word not in told.message] == []
    assert told.hint is not None
    assert "the same command" in told.hint


def test_a_sleeper_in_the_way_is_named_and_other_readers_go_on(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    before = digests(crowded)
    with sleeper(crowded, "SELECT count(*) FROM users") as pid, reading(crowded) as reads:
        ended = migrated(crowded, defaults={"lock_budget": "1s"})

    assert_out_of_budget(
        ended,
        "ACCESS EXCLUSIVE lock on users",
        "within 1 s",
        f"pid {pid},",
        "user opssight,",
        "'nightly-report'",
        "'SELECT count(*) FROM users'",
    )
    assert reads.done > 10
    assert reads.given_up == []
    assert asked(crowded, STAMP) == [("d8b40ecdc203",)]
    assert asked(crowded, HALF_DONE) == [(0,)]
    assert digests(crowded) == before

    again = migrated(crowded)
    assert again.report.exit_code == 0, again.report.diagnostics
    assert [event.resumes for event in again.of(RunStarted)] == [runs(crowded)[0][0]]
    assert outcome(crowded) == undisturbed


def test_a_run_that_waits_says_for_whom_and_goes_on_once_the_way_is_free(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    with psycopg.connect(as_superuser(crowded)) as other:
        other.execute("SELECT count(*) FROM users")
        pid = other.info.backend_pid

        def end_when_named(event: Event) -> None:
            if isinstance(event, LockAwaited):
                other.rollback()

        ended = migrated(crowded, also=end_when_named)

    assert ended.report.exit_code == 0, ended.report.diagnostics
    first, *_ = ended.of(LockAwaited)
    assert (first.relation, first.mode) == ("users", "ACCESS EXCLUSIVE")
    assert [blocked.pid for blocked in first.blockers] == [pid]
    assert outcome(crowded) == undisturbed


def test_an_old_snapshot_that_holds_up_an_index_is_named(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    query = "SELECT count(*) FROM pg_class"
    with sleeper(crowded, query, level="REPEATABLE READ") as pid, reading(crowded) as reads:
        ended = migrated(crowded, defaults={"lock_budget": "300ms"})

    assert_out_of_budget(ended, "ix_aws_accounts_organization_id", f"pid {pid},", f"'{query}'")
    assert reads.given_up == []
    assert asked(crowded, STAMP) == [("d8b40ecdc203",)]
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed


@pytest.mark.parametrize(
    "what",
    [
        "ADD FOREIGN KEY users_organization_id_fkey",
        "VALIDATE CONSTRAINT users_organization_id_fkey",
        "RENAME INDEX ix_users_email",
        "CREATE TABLE user_roles",
    ],
)
def test_a_budget_spent_half_way_through_a_revision_leaves_what_the_next_run_completes(
    crowded: str, migrated: Migrate, undisturbed: Outcome, what: str
) -> None:
    with psycopg.connect(as_superuser(crowded)) as other:

        def stand_in_the_way(event: Event) -> None:
            if isinstance(event, StatementStarted) and event.what == what:
                other.execute("LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE")

        ended = migrated(crowded, also=stand_in_the_way, defaults={"lock_budget": "300ms"})
        assert_out_of_budget(ended, "on users", f"pid {other.info.backend_pid},")
        other.rollback()

    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed
