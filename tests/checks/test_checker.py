"""The checker: a check reads one snapshot, and the server itself refuses one that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from tests.conftest import DatabaseAt

from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import Check
from opssight_migrate.engine import checker
from opssight_migrate.model.errors import StatementError
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session


class WritingCheck(Check):
    """Mends what it should only look at."""

    id = "nobody-is-inactive"
    title = "A check that writes"
    category = "test"
    needs = START

    def run(self, session: Session) -> Iterable[Finding]:
        session.execute("UPDATE users SET is_active = true")
        return ()


class LookingTwiceCheck(Check):
    """Counts the users twice, while somebody else deletes them in between."""

    id = "nothing-moves"
    title = "A check that looks twice"
    category = "test"
    needs = START

    def __init__(self, other: Session) -> None:
        self.other = other

    def run(self, session: Session) -> Iterable[Finding]:
        first = session.scalar("SELECT count(*) FROM notification_logs")
        self.other.execute("DELETE FROM notification_logs")
        if session.scalar("SELECT count(*) FROM notification_logs") != first:
            yield Finding(check_id=self.id, severity=Severity.FAIL, message="it moved")


def test_the_server_refuses_a_check_that_writes(populated: Session) -> None:
    before = populated.scalar("SELECT count(*) FROM users WHERE is_active")

    with pytest.raises(StatementError) as refused:
        checker.run_checks([WritingCheck()], populated)

    assert refused.value.sqlstate == "25006"
    assert populated.scalar("SELECT count(*) FROM users WHERE is_active") == before


def test_a_check_sees_one_snapshot(populated: Session, opened: Callable[[str], Session]) -> None:
    other = opened(populated.connection.info.dsn)

    (found,) = checker.run_checks([LookingTwiceCheck(other)], populated)

    assert found.findings == ()
    assert populated.scalar("SELECT count(*) FROM notification_logs") == 0


def test_every_check_passes_on_a_migrated_database(migrated: Session) -> None:
    outcomes = checker.run_checks(CHECKS, migrated)

    assert [(one.check.id, one.findings, one.skipped) for one in outcomes] == [
        (check.id, (), False) for check in CHECKS
    ]


def test_a_check_of_a_later_revision_is_skipped(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    outcomes = checker.run_checks(CHECKS, opened(database_at(START, False)))

    assert {one.check.id: one.skipped for one in outcomes} == {
        check.id: check.needs != START for check in CHECKS
    }
