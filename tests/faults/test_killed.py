"""Killed with -9 anywhere, the next run goes on and ends where an undisturbed one ends."""

from __future__ import annotations

import signal
import subprocess
import time

import psycopg
import pytest
from psycopg import sql
from tests.faults.conftest import (
    Ended,
    Migrate,
    Outcome,
    Start,
    asked,
    digests,
    outcome,
    runs,
    traces,
    written_to,
)
from tests.faults.victim import Point
from tests.least import as_superuser

from opssight_migrate.model.events import ProofStarted, RunStarted, StepStarted, TableCompared
from opssight_migrate.postgres import reader, standing
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

SNAPSHOTS = "SELECT DISTINCT run_id FROM opssight_migrate.snapshots"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
AT_WORK = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'opssight-migrate/%/%'
"""
UNVALIDATED = """
SELECT count(*) FROM pg_constraint
 WHERE conname = 'users_organization_id_fkey' AND NOT convalidated
"""
STAMP = "SELECT version_num FROM alembic_version"
ASSIGNED = "SELECT count(*) FROM user_roles"
BATCHES = "SELECT count(*) FROM opssight_migrate.batches WHERE step_id = 'assign-roles'"


def killed(process: subprocess.Popen[str]) -> None:
    """Wait until the process has killed itself."""
    said, complained = process.communicate(timeout=90)
    assert process.returncode == -signal.SIGKILL, said + complained


def kill(start: Start, point: Point) -> None:
    """Run until the point is reached, where the process kills itself."""
    killed(start(point))


def assert_same_end(conninfo: str, again: Ended, expected: Outcome) -> None:
    """The second run went on from the killed one, and all is as if nobody had been killed."""
    assert again.report.exit_code == 0, again.report.diagnostics
    assert again.report.status == "ok"
    (killed, was, _), (resumed, now, lineage) = runs(conninfo)
    assert (was, now, lineage) == ("abandoned", "ok", [killed, resumed])
    assert [event.resumes for event in again.of(RunStarted)] == [killed]
    assert asked(conninfo, SNAPSHOTS) == [(killed,)]
    assert not [event for event in again.of(TableCompared) if event.phase == "before"]
    proof = again.report.proof
    assert proof is not None
    assert (proof.identical, proof.tables) == (True, 22)
    assert outcome(conninfo) == expected
    assert traces(conninfo) == [
        (killed, "migration to 80bd6a3c3fa1 begins"),
        (resumed, "migration to 80bd6a3c3fa1 begins"),
        (resumed, "migrated to 80bd6a3c3fa1"),
    ]
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        actual = reader.read_catalogue(session)
        assert standing.altered(session, expected.revision, actual) == []


def test_an_undisturbed_run_leaves_the_old_columns_as_they_were(
    crowded: str, undisturbed: Outcome
) -> None:
    assert digests(crowded) == undisturbed.old_columns


def test_a_run_killed_while_an_index_is_built_concurrently_is_taken_up(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    point = Point(
        conninfo=crowded,
        event="StatementStarted",
        of="CREATE INDEX ix_users_email_twin",
        waits=True,
        inside="CREATE INDEX CONCURRENTLY%",
    )
    with written_to(crowded, process := victim(point)):
        killed(process)
        assert asked(crowded, INVALID) == [(1,)]

    assert_same_end(crowded, migrated(crowded), undisturbed)


def test_the_server_ends_the_statement_of_a_killed_run_though_the_database_says_not_to_look(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    with psycopg.connect(as_superuser(crowded), autocommit=True) as owner:
        name = sql.Identifier(owner.info.dbname)
        owner.execute(
            sql.SQL("ALTER DATABASE {} SET client_connection_check_interval TO 0").format(name)
        )
    point = Point(
        conninfo=crowded,
        event="StatementStarted",
        of="CREATE INDEX ix_users_email_twin",
        waits=True,
        inside="CREATE INDEX CONCURRENTLY%",
    )
    with written_to(crowded, process := victim(point)):
        killed(process)
        # What it waits for goes on, so it cannot end by itself before its five minutes are over.
        until = time.monotonic() + 30
        while asked(crowded, AT_WORK) != [(0,)]:
            assert time.monotonic() < until

    assert_same_end(crowded, migrated(crowded), undisturbed)


def test_a_run_killed_while_a_constraint_is_validated_is_taken_up(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    kill(
        victim,
        Point(
            conninfo=crowded,
            event="StatementStarted",
            of="VALIDATE CONSTRAINT users_organization_id_fkey",
            first="LOCK TABLE organizations IN ACCESS EXCLUSIVE MODE",
            inside="%VALIDATE CONSTRAINT%",
        ),
    )
    assert asked(crowded, UNVALIDATED) == [(1,)]

    assert_same_end(crowded, migrated(crowded), undisturbed)


@pytest.mark.parametrize(
    ("revision", "before"), [("85f9e3f15142", "d8b40ecdc203"), ("80bd6a3c3fa1", "b521a10e8182")]
)
def test_a_run_killed_between_a_revisions_last_statement_and_its_stamp_is_taken_up(
    crowded: str,
    victim: Start,
    migrated: Migrate,
    undisturbed: Outcome,
    revision: str,
    before: str,
) -> None:
    # The event is told in the transaction of the stamp, before its commit.
    kill(victim, Point(conninfo=crowded, event="RevisionApplied", of=revision))
    assert asked(crowded, STAMP) == [(before,)]

    assert_same_end(crowded, migrated(crowded), undisturbed)


def test_a_run_killed_after_a_batch_goes_on_behind_it(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    kill(victim, Point(conninfo=crowded, event="BatchDone", of="assign-roles"))
    assert asked(crowded, BATCHES) == [(1,)]
    (assigned,) = asked(crowded, ASSIGNED)[0]
    assert 0 < assigned < len(undisturbed.user_roles)

    assert_same_end(crowded, again := migrated(crowded), undisturbed)
    assert [e.resumed for e in again.of(StepStarted) if e.step_id == "assign-roles"] == [True]
    done = [step.rows for step in again.report.steps if step.id == "assign-roles"]
    assert [rows and rows.done for rows in done] == [len(undisturbed.user_roles)]


def test_a_run_killed_in_the_middle_of_a_batch_loses_that_batch_only(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    kill(
        victim,
        Point(
            conninfo=crowded,
            event="BatchDone",
            of="assign-roles",
            first="SELECT id FROM users ORDER BY id DESC LIMIT 1 FOR UPDATE",
            inside="%WITH batch AS%",
        ),
    )
    (batches,) = asked(crowded, BATCHES)[0]
    (assigned,) = asked(crowded, ASSIGNED)[0]
    assert batches >= 1
    assert 0 < assigned < len(undisturbed.user_roles)

    assert_same_end(crowded, migrated(crowded), undisturbed)


@pytest.mark.parametrize("step", ["settle-organizations", "b521a10e8182", "initialise-audit"])
def test_a_run_killed_between_two_steps_is_taken_up(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome, step: str
) -> None:
    kill(victim, Point(conninfo=crowded, event="StepFinished", of=f"'{step}'"))

    assert_same_end(crowded, migrated(crowded), undisturbed)


def test_a_run_killed_in_its_closing_verification_is_proven_by_the_next_one(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    kill(victim, Point(conninfo=crowded, event="ProofStarted"))

    assert_same_end(crowded, again := migrated(crowded), undisturbed)
    assert [event.tables for event in again.of(ProofStarted)] == [22]
    assert migrated(crowded).report.status == "nothing_to_do"


def test_a_run_killed_twice_still_compares_with_what_was_before_the_first(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    kill(victim, Point(conninfo=crowded, event="StepFinished", of="'85f9e3f15142'"))
    kill(victim, Point(conninfo=crowded, event="BatchDone", of="assign-roles"))
    again = migrated(crowded)

    assert again.report.exit_code == 0, again.report.diagnostics
    (first, _, _), (second, _, _), (third, _, lineage) = runs(crowded)
    assert [status for _, status, _ in runs(crowded)] == ["abandoned", "abandoned", "ok"]
    assert lineage == [first, second, third]
    assert asked(crowded, SNAPSHOTS) == [(first,)]
    assert outcome(crowded) == undisturbed
