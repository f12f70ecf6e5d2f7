"""The checker: a check reads one snapshot, and the server itself refuses one that writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import psycopg
import pytest
from tests.conftest import DatabaseAt

from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.checks.somebody_administers import SomebodyAdministers
from opssight_migrate.engine import checker
from opssight_migrate.model.errors import ExitCode, LockBudgetError, StatementError
from opssight_migrate.model.events import CheckStarted, Event, LockAwaited
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session


class WritingCheck(Check):
    """Mends what it should only look at."""

    id = "nobody-is-inactive"
    title = "A check that writes"
    category = "test"
    needs = START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        ctx.session.execute("UPDATE users SET is_active = true")
        return ()


class ProbingCheck(Check):
    """Deletes on request, and says how much."""

    id = "everything-goes"
    title = "A check that probes"
    category = "test"
    needs = START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        return ()

    def probe(self, ctx: CheckContext) -> Iterable[Finding]:
        rows = ctx.session.execute("DELETE FROM notification_logs")
        yield Finding(check_id=self.id, severity=Severity.NOTE, message="gone", rows=rows)


class LookingTwiceCheck(Check):
    """Counts the users twice, while somebody else deletes them in between."""

    id = "nothing-moves"
    title = "A check that looks twice"
    category = "test"
    needs = START

    def __init__(self, other: Session) -> None:
        self.other = other

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        first = ctx.session.scalar("SELECT count(*) FROM notification_logs")
        self.other.execute("DELETE FROM notification_logs")
        if ctx.session.scalar("SELECT count(*) FROM notification_logs") != first:
            yield Finding(check_id=self.id, severity=Severity.FAIL, message="it moved")


def test_the_server_refuses_a_check_that_writes(populated: Session) -> None:
    before = populated.scalar("SELECT count(*) FROM users WHERE is_active")

    with pytest.raises(StatementError) as refused:
        list(checker.run_checks([WritingCheck()], CheckContext(session=populated)))

    assert refused.value.sqlstate == "25006"
    assert populated.scalar("SELECT count(*) FROM users WHERE is_active") == before


def test_a_probe_writes_only_where_it_is_asked_for_and_is_rolled_back(populated: Session) -> None:
    before = populated.scalar("SELECT count(*) FROM notification_logs")
    ctx = CheckContext(session=populated)

    (unasked,) = checker.run_checks([ProbingCheck()], ctx)
    (asked,) = checker.run_checks([ProbingCheck()], CheckContext(session=populated, probing=True))

    assert unasked.findings == ()
    assert [finding.rows for finding in asked.findings] == [before]
    assert populated.scalar("SELECT count(*) FROM notification_logs") == before > 0


def test_a_check_sees_one_snapshot(populated: Session, opened: Callable[[str], Session]) -> None:
    other = opened(populated.connection.info.dsn)

    (found,) = list(checker.run_checks([LookingTwiceCheck(other)], CheckContext(session=populated)))

    assert found.findings == ()
    assert populated.scalar("SELECT count(*) FROM notification_logs") == 0


def test_every_check_passes_on_a_migrated_database(migrated: Session) -> None:
    heard: list[Event] = []
    outcomes = list(checker.run_checks(CHECKS, CheckContext(session=migrated, emit=heard.append)))

    assert [one.check for one in outcomes] == list(CHECKS)
    begun = [one for one in heard if isinstance(one, CheckStarted)]
    assert [one.check_id for one in begun] == [check.id for check in CHECKS]
    assert [one.number for one in begun] == list(range(1, begun[0].checks_total + 1))
    bad = [f for one in outcomes for f in one.findings if f.severity is not Severity.NOTE]
    assert bad == []
    skipped = {one.check.id: one.skipped for one in outcomes if one.skipped}
    assert skipped.pop("audit-log-takes-rows") == "it writes, and --probe was not given"
    assert skipped.pop("way-back-loses-nothing") == "verify.rehearse is off"
    assert "TimescaleDB" in str(skipped.pop("time-series-are-hypertables"))
    assert "TimescaleDB" in str(skipped.pop("series-policies-are-as-configured"))
    assert "TimescaleDB" in str(skipped.pop("time-buckets-answer"))
    assert "[verify.http]" in str(skipped.pop("platform-answers"))
    assert set(skipped) <= {"json-texts-parse"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_check_takes_no_lock_above_access_share(migrated: Session, check: Check) -> None:
    modes = "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation > 0"
    ctx = CheckContext(session=migrated)

    with migrated.reading():
        if check.skipped(ctx) is None:
            list(check.run(ctx))
        held = {mode for (mode,) in migrated.rows(modes)}

    assert held == {"AccessShareLock"}


def test_a_question_that_a_damaged_database_cannot_answer_is_a_finding_and_the_others_are_asked(
    migrated: Session,
) -> None:
    migrated.execute("DROP TABLE user_roles")

    outcomes = list(checker.run_checks(CHECKS, CheckContext(session=migrated)))

    assert len(outcomes) == len(CHECKS)
    (found,) = next(one.findings for one in outcomes if one.check.id == "somebody-administers")
    assert found.severity is Severity.FAIL
    assert found.message == (
        'the server cannot answer: relation "user_roles" does not exist (42P01)'
    )


def locking(session: Session, seconds: float) -> threading.Thread:
    """Hold every user from being read, for so long."""
    locked = threading.Event()

    def hold() -> None:
        with psycopg.connect(session.connection.info.dsn, application_name="a deploy") as other:
            other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            locked.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(10)
    return thread


def test_a_table_that_somebody_has_locked_is_waited_for_aloud_and_outside_the_queue(
    migrated: Session,
) -> None:
    heard: list[Event] = []
    ctx = CheckContext(session=migrated, emit=heard.append)
    somebody = locking(migrated, 2.2)

    (found,) = checker.run_checks([SomebodyAdministers()], ctx)
    somebody.join()

    assert (found.findings, found.skipped) == ((), None)
    assert found.elapsed_s > 2
    waits = [one for one in heard if isinstance(one, LockAwaited)]
    assert [(one.relation, one.mode) for one in waits] == [("users", "ACCESS SHARE")] * len(waits)
    assert [one.application for one in waits[0].blockers] == ["a deploy"]


def test_whoever_never_lets_go_of_it_is_named_once_the_budget_is_spent(migrated: Session) -> None:
    ctx = CheckContext(session=migrated, lock_budget_s=0.5)
    somebody = locking(migrated, 2.2)

    with pytest.raises(LockBudgetError, match=r"users could not be read .*'a deploy'") as spent:
        list(checker.run_checks([SomebodyAdministers()], ctx))
    somebody.join()

    assert spent.value.exit_code is ExitCode.BUSY


def test_a_check_of_a_later_revision_is_skipped(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    outcomes = list(
        checker.run_checks(CHECKS, CheckContext(session=opened(database_at(START, False))))
    )

    later = {one.check.id for one in outcomes if "begins at" in (one.skipped or "")}
    assert later == {check.id for check in CHECKS if check.needs != START}
