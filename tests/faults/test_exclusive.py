"""One run at a time, whoever comes second and whatever a killed run left at the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.faults.conftest import Ended, Migrate, Outcome, asked, digests, outcome, runs

from opssight_migrate.model.events import BatchDone, Event, StatementStarted, StepStarted

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

BUMP = "UPDATE opssight_migrate.installation SET epoch = epoch + 1"
BATCHES = "SELECT count(*) FROM opssight_migrate.batches WHERE step_id = 'assign-roles'"
ASSIGNED = "SELECT count(*) FROM user_roles"
STAMP = "SELECT version_num FROM alembic_version"
WORKING = """
SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'opssight-migrate/%/%'
"""
SLEEPING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'
"""


@contextmanager
def sleeping(conninfo: str, application_name: str) -> Iterator[list[psycopg.Error]]:
    """Have a session execute pg_sleep in another thread; give the error that ended it."""
    ended_by: list[psycopg.Error] = []
    connection = psycopg.connect(conninfo, autocommit=True, application_name=application_name)

    def sleep() -> None:
        try:
            connection.execute("SELECT pg_sleep(120)")
        except psycopg.Error as error:
            ended_by.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        while asked(conninfo, SLEEPING) != [(1,)]:
            pass
        yield ended_by
    finally:
        if thread.is_alive():
            connection.cancel()
        thread.join(30)
        connection.close()


def test_a_second_operator_is_told_who_holds_the_database_and_changes_nothing(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    seconds: list[tuple[Ended, int]] = []

    def be_second(event: Event) -> None:
        if isinstance(event, BatchDone) and not seconds:
            before = (asked(crowded, STAMP), asked(crowded, ASSIGNED), runs(crowded))
            ((holder,),) = asked(crowded, WORKING)
            seconds.append((migrated(crowded), holder))
            assert (asked(crowded, STAMP), asked(crowded, ASSIGNED), runs(crowded)) == before

    first = migrated(crowded, also=be_second)

    ((second, holder),) = seconds
    assert (second.report.exit_code, second.report.status) == (6, "refused")
    (told,) = second.report.diagnostics
    assert told.code == "OM401"
    assert f"pid {holder}," in told.message
    assert told.state == "nothing was changed"
    assert second.report.run_id is None
    assert first.report.exit_code == 0, first.report.diagnostics
    assert outcome(crowded) == undisturbed


def test_an_orphan_that_still_executes_is_ended_before_anything_else(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    with sleeping(crowded, "opssight-migrate/mdead/assign-roles") as ended_by:
        again = migrated(crowded)

    assert [error.sqlstate for error in ended_by] == ["57P01"]
    assert again.report.exit_code == 0, again.report.diagnostics
    assert outcome(crowded) == undisturbed


def test_a_session_of_another_name_is_no_orphan(crowded: str, migrated: Migrate) -> None:
    with sleeping(crowded, "opssight-backend") as ended_by:
        report = migrated(crowded, defaults={"lock_budget": "300ms"}).report
        assert ended_by == []

    # It sleeps on a snapshot, so no index can be built concurrently beside it.
    assert report.exit_code == 6


def test_a_stale_run_cannot_commit_a_batch(
    crowded: str, migrated: Migrate, undisturbed: Outcome
) -> None:
    committed: list[tuple[int, int]] = []

    def another_run_begins(event: Event) -> None:
        if isinstance(event, BatchDone) and not committed:
            asked(crowded, BUMP)
            committed.append((asked(crowded, BATCHES)[0][0], asked(crowded, ASSIGNED)[0][0]))

    stale = migrated(crowded, also=another_run_begins)

    assert (stale.report.exit_code, stale.report.status) == (9, "partial")
    assert [told.code for told in stale.report.diagnostics if told.severity == "error"] == ["OM504"]
    assert [(asked(crowded, BATCHES)[0][0], asked(crowded, ASSIGNED)[0][0])] == committed
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed


@pytest.mark.parametrize(
    ("what", "before"),
    [
        ("CREATE INDEX ix_users_github_username_twin", "d8b40ecdc203"),
        ("CREATE TABLE audit_configurations", "b521a10e8182"),
    ],
)
def test_a_stale_run_cannot_stamp_a_revision(
    crowded: str, migrated: Migrate, undisturbed: Outcome, what: str, before: str
) -> None:
    def another_run_begins(event: Event) -> None:
        if isinstance(event, StatementStarted) and event.what == what:
            asked(crowded, BUMP)

    stale = migrated(crowded, also=another_run_begins)

    assert stale.report.exit_code == 9
    assert [told.code for told in stale.report.diagnostics if told.severity == "error"] == ["OM504"]
    assert asked(crowded, STAMP) == [(before,)]
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed


def test_a_stale_run_cannot_begin_a_step(crowded: str, migrated: Migrate) -> None:
    def another_run_begins(event: Event) -> None:
        if isinstance(event, StepStarted) and event.step_id == "settle-organizations":
            asked(crowded, BUMP)

    before = digests(crowded)
    stale = migrated(crowded, also=another_run_begins)

    assert stale.report.exit_code == 9
    assert [step.id for step in stale.report.steps if step.status == "failed"] == [
        "settle-organizations"
    ]
    assert digests(crowded) == before
