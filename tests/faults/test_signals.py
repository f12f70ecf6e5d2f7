"""SIGINT and SIGTERM: the first lets the work in flight end, the second cancels it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from tests.conftest import SettingsFor
from tests.faults.conftest import Migrate, Outcome, Start, asked, outcome, runs, written_to
from tests.faults.victim import Point, agreed

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.engine import stopping
from opssight_migrate.model.errors import ExitCode
from opssight_migrate.model.events import BatchDone, Event, RunStarted

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

BATCHES = "SELECT count(*) FROM opssight_migrate.batches WHERE step_id = 'assign-roles'"
ERRORS = "SELECT status, error FROM opssight_migrate.runs"


def stopped(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until the signals have stopped the process; return its report."""
    said, complained = process.communicate(timeout=90)
    assert process.returncode == 0, complained
    report: dict[str, Any] = json.loads(said)
    return report


@pytest.mark.parametrize(
    ("name", "code", "diagnostic"), [("SIGINT", 130, "OM602"), ("SIGTERM", 143, "OM603")]
)
def test_a_signal_stops_the_run_after_the_batch_and_the_next_run_goes_on(
    crowded: str,
    victim: Start,
    migrated: Migrate,
    undisturbed: Outcome,
    name: str,
    code: int,
    diagnostic: str,
) -> None:
    point = Point(conninfo=crowded, event="BatchDone", of="assign-roles", signals=(name,))
    report = stopped(victim(point))

    assert (report["exit_code"], report["status"]) == (code, "interrupted")
    errors = [told for told in report["diagnostics"] if told["severity"] == "error"]
    assert [told["code"] for told in errors] == [diagnostic]
    assert name in errors[0]["message"]
    assert "goes on from there" in errors[0]["state"]
    assert asked(crowded, BATCHES) == [(1,)]
    ((status, error),) = asked(crowded, ERRORS)
    assert status == "interrupted"
    assert name in error

    again = migrated(crowded)
    assert again.report.exit_code == 0, again.report.diagnostics
    assert [event.resumes for event in again.of(RunStarted)] == [runs(crowded)[0][0]]
    assert outcome(crowded) == undisturbed


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_cancels_a_long_statement(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome, name: str, code: int
) -> None:
    point = Point(
        conninfo=crowded,
        event="StatementStarted",
        of="CREATE INDEX ix_users_email_twin",
        waits=True,
        inside="CREATE INDEX CONCURRENTLY%",
        signals=(name, name),
    )
    # It would wait for the other transaction for the whole lock_budget, five minutes.
    with written_to(crowded, process := victim(point)):
        report = stopped(process)

    assert (report["exit_code"], report["status"]) == (code, "interrupted")
    assert [status for status, _ in asked(crowded, ERRORS)] == ["interrupted"]
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed


def test_a_second_signal_cancels_a_batch_that_waits_for_a_row(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    point = Point(
        conninfo=crowded,
        event="BatchDone",
        of="assign-roles",
        first="SELECT id FROM users ORDER BY id DESC LIMIT 1 FOR UPDATE",
        inside="%WITH batch AS%",
        signals=("SIGINT", "SIGINT"),
    )
    report = stopped(victim(point))

    assert (report["exit_code"], report["status"]) == (130, "interrupted")
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed


def test_a_signal_before_the_closing_verification_leaves_the_proof_to_the_next_run(
    crowded: str, victim: Start, migrated: Migrate, undisturbed: Outcome
) -> None:
    point = Point(
        conninfo=crowded, event="StepFinished", of="'initialise-audit'", signals=("SIGINT",)
    )
    report = stopped(victim(point))

    assert report["exit_code"] == 130
    assert report["proof"] is None
    again = migrated(crowded).report
    assert again.proof is not None
    assert again.proof.identical
    assert outcome(crowded) == undisturbed


def test_a_deadline_stops_between_two_batches_and_the_next_run_goes_on(
    crowded: str,
    settings_for: SettingsFor,
    monkeypatch: pytest.MonkeyPatch,
    migrated: Migrate,
    undisturbed: Outcome,
) -> None:
    def is_late(event: Event) -> None:
        if isinstance(event, BatchDone) and event.step_id == "assign-roles":
            monkeypatch.setattr(stopping, "monotonic", lambda: float("inf"))

    settings = settings_for(crowded)
    request = MigrateRequest(deadline_s=3600)
    ended = migrate(settings, settings.profile(None), request, confirm=agreed, emit=is_late)
    monkeypatch.undo()

    assert (ended.exit_code, ended.status) == (ExitCode.PARTIAL, "partial")
    assert asked(crowded, BATCHES) == [(1,)]
    assert asked(crowded, ERRORS)[0][0] == "interrupted"
    assert migrated(crowded).report.exit_code == 0
    assert outcome(crowded) == undisturbed
