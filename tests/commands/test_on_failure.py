"""``on_failure``: a run that cannot succeed is undone; one that can be gone on with is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.chain.looks import catalogue_text, golden_text, shims_up_to, without_shims
from tests.commands.conftest import error_of, run
from tests.commands.test_rollback import old_columns
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.unwinding import is_incurable
from opssight_migrate.engine import proof
from opssight_migrate.engine.proof import Verdict
from opssight_migrate.model import errors
from opssight_migrate.model.errors import MigrateError
from opssight_migrate.model.events import Event, RevisionUndone, RunFinished
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight.revisions import MULTI_TENANCY, RBAC, START, TARGET
from opssight_migrate.postgres import archive
from opssight_migrate.postgres.failures import DeadlockError, UniqueError
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.undoing import Undoing
from opssight_migrate.steps.base import StepContext
from opssight_migrate.steps.initialise_audit import InitialiseAudit

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

STOP: dict[str, Any] = {"defaults": {"on_failure": "stop"}}


def _never(step: InitialiseAudit, ctx: StepContext) -> Iterable[Finding]:
    yield Finding(check_id=step.id, severity=Severity.FAIL, message="not as it should be")


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The last step's verification fails, however often it is done."""
    monkeypatch.setattr(InitialiseAudit, "verify", _never)
    return monkeypatch


def test_a_failed_verification_undoes_everything_that_the_run_did(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    unverified: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)
    settings, session = settings_for(conninfo), opened(conninfo)
    before = old_columns(session)
    events: list[Event] = []

    report = run(settings, events=events)

    assert (report.status, report.exit_code) == ("rolled_back", 8), report.diagnostics
    assert error_of(report) == ("OM508", "initialise-audit: not as it should be")
    [error] = [one for one in report.diagnostics if one.severity == "error"]
    assert error.state == "everything this run did was undone"
    assert catalogue_text(session) == golden_text(START)
    assert old_columns(session) == before
    assert [event.revision for event in events if isinstance(event, RevisionUndone)][-1] == (
        MULTI_TENANCY
    )
    assert [event.status for event in events if isinstance(event, RunFinished)] == ["rolled_back"]
    assert {step.status for step in report.steps} == {"undone"}
    assert report.revision is not None
    assert report.revision.to == START
    assert session.rows("SELECT command, status FROM opssight_migrate.runs ORDER BY epoch") == [
        ("migrate", "superseded"),
        ("rollback", "ok"),
    ]

    unverified.undo()
    again = run(settings)
    assert again.status == "ok", again.diagnostics
    assert without_shims(session) == (golden_text(TARGET), shims_up_to(TARGET))
    assert archive.entries(session) == ()
    assert session.scalar("SELECT count(*) FROM user_roles") == 200


def test_with_stop_it_is_left_where_it_can_be_gone_on_with(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    unverified: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)

    report = run(settings_for(conninfo, **STOP))

    assert (report.status, report.exit_code) == ("partial", 9)
    assert error_of(report)[0] == "OM505"
    assert opened(conninfo).scalar("SELECT version_num FROM alembic_version") == TARGET


def test_bad_data_undoes_the_run(
    database_at: DatabaseAt, settings_for: SettingsFor, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    settings, session = settings_for(conninfo), opened(conninfo)
    # A user whose role is none: OpsSight's foreign key was switched off when it was written.
    session.execute("SELECT set_config('session_replication_role', 'replica', false)")
    session.execute("UPDATE users SET role_id = 999 WHERE id = (SELECT max(id) FROM users)")
    session.execute("SELECT set_config('session_replication_role', 'origin', false)")
    before = old_columns(session)

    report = run(settings)

    assert (report.status, report.exit_code) == ("rolled_back", 8), report.diagnostics
    assert catalogue_text(session) == golden_text(START)
    assert old_columns(session) == before


def test_what_the_run_found_made_cannot_be_undone_by_it(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    unverified: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(RBAC)

    report = run(settings_for(conninfo))

    assert (report.status, report.exit_code) == ("partial", 9)
    message = error_of(report)[1]
    assert "initialise-audit: not as it should be" in message
    assert "cannot be undone by itself: assign-roles wrote 200 rows" in message
    session = opened(conninfo)
    assert session.scalar("SELECT version_num FROM alembic_version") == TARGET


def test_where_undoing_stops_on_the_way_the_message_says_how_to_go_on(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    unverified: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)
    settings, session = settings_for(conninfo), opened(conninfo)

    def fail(*_: object) -> None:
        raise errors.LockBudgetError("no lock")

    unverified.setattr(Undoing, "drop_enum", fail)
    report = run(settings)

    assert (report.status, report.exit_code) == ("partial", 9)
    assert "undoing the run stopped on the way: no lock" in error_of(report)[1]
    [[run_id]] = session.rows("SELECT id FROM opssight_migrate.runs WHERE command = 'migrate'")
    [hint] = [one.hint for one in report.diagnostics if one.severity == "error"]
    assert hint == f"opssight-migrate rollback --run {run_id} goes on from there"


def test_rows_that_differ_are_left_to_be_looked_at(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)
    compare = proof.compare

    def lost(*given: Any, **named: Any) -> Verdict:
        return Verdict(proof=compare(*given, **named).proof, lost=("users",))

    monkeypatch.setattr(proof, "compare", lost)
    report = run(settings_for(conninfo))

    assert (report.status, report.exit_code) == ("partial", 9)
    assert error_of(report)[0] == "OM507"
    assert opened(conninfo).scalar("SELECT version_num FROM alembic_version") == TARGET


@pytest.mark.parametrize(
    ("error", "incurable"),
    [
        (errors.StepFailedError("x"), True),
        (errors.StatementError("x", sqlstate="22001"), True),
        (errors.StatementError("x", sqlstate="23503"), True),
        (UniqueError("x", sqlstate="23505"), True),
        (errors.RowsDifferError("x"), False),
        (errors.StatementError("x", sqlstate="57014"), False),
        (errors.StatementError("x"), False),
        (DeadlockError("x", sqlstate="40P01"), False),
        (errors.LockBudgetError("x"), False),
        (errors.ConnectionLostError("x"), False),
        (errors.DiskFullError("x", sqlstate="53100"), False),
        (errors.StaleRunError("x"), False),
        (errors.InterruptedRunError("x"), False),
        (errors.PrivilegeError("x", sqlstate="42501"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_running_again_cannot_cure_is_undone(
    error: MigrateError, incurable: bool
) -> None:
    assert is_incurable(error) is incurable
