"""The verbs that only read: their pages, their streams, their exit codes. The work is a fake."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opssight_migrate.cli.app import app
from opssight_migrate.commands.verify import VerifyRequest
from opssight_migrate.model.errors import ExitCode, UnknownEnvironmentError
from opssight_migrate.model.events import Noted, PlanMade
from opssight_migrate.model.plan import DatabaseFacts, Estimate, Plan, PlannedStep
from opssight_migrate.model.report import (
    CheckResult,
    Diagnostic,
    Environment,
    Report,
    Status,
    utc_now,
)

PLAN = Plan(
    environment="staging",
    protected=False,
    origin="opssight.toml:2",
    database=DatabaseFacts(
        host="db",
        port=5432,
        name="opssight",
        user="app",
        server_version="16.4",
        system_identifier="7",
        database_oid=5,
    ),
    revision_from="d8b40ecdc203",
    revision_to="80bd6a3c3fa1",
    steps=(
        PlannedStep(step_id="fill-it", title="Fill it", kind="data", estimate=Estimate(rows=1_234)),
    ),
)


def report(command: str, status: Status, **changes: Any) -> Report:
    return Report(
        tool="opssight-migrate 0.1.0",
        command=command,
        status=status,
        started_at=utc_now(),
        duration_ms=10,
        environment=Environment(name="staging", protected=False),
        **({"exit_code": 0} | changes),
    )


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and nothing of the caller's environment."""
    for name in list(os.environ):
        if name.startswith("OPSSIGHT_"):
            monkeypatch.delenv(name)
    (tmp_path / ".git").mkdir()
    (tmp_path / "opssight.toml").write_text("[environments.staging]\nservice = 'staging'\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args, prog_name="opssight-migrate")


def logs(place: Path) -> list[Path]:
    return sorted((place / "state/opssight-migrate/log").glob("*.log"))


def test_status_shows_no_plan_page_and_exits_3_only_where_asked_for(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    def status(settings: Any, profile: Any, *, emit: Any, argv_hint: str) -> Report:
        emit(PlanMade(plan=PLAN))
        return report("status", "pending")

    monkeypatch.setattr("opssight_migrate.commands.status.status", status)
    done = run("status", "-e", "staging")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "staging  (opssight.toml:2)"
    assert "fill-it" not in done.stdout
    assert run("status", "-e", "staging", "--detailed-exitcode").exit_code == ExitCode.PENDING
    assert logs(place) == []


def test_verify_ends_with_1_and_its_findings_on_stdout(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    asked: list[tuple[str, ...]] = []

    def verify(settings: Any, profile: Any, request: VerifyRequest, *, emit: Any) -> Report:
        asked.append(request.only)
        return report(
            "verify",
            "findings",
            exit_code=1,
            checks=(
                CheckResult(
                    id="no-orphans", title="None", category="a", status="failed", findings=1
                ),
            ),
            diagnostics=(Diagnostic(code="no-orphans", severity="error", message="orphans"),),
        )

    monkeypatch.setattr("opssight_migrate.commands.verify.verify", verify)
    monkeypatch.setattr(
        "opssight_migrate.commands.verify.listed",
        lambda _=None: (("no-orphans", "None is", "schema"),),
    )
    done = run("verify", "-e", "staging", "--only", "no-orphans")
    assert done.exit_code == ExitCode.FINDINGS
    assert done.stderr == ""
    assert "error[no-orphans]: orphans" in done.stdout
    assert asked == [("no-orphans",)]
    assert logs(place)[0].name.startswith("migration_test_staging_")

    done = run("verify", "-e", "staging", "--only", "no-orphan")
    assert done.exit_code == ExitCode.USAGE
    assert 'did you mean "no-orphans"?' in done.stderr

    done = run("verify", "--list")
    assert done.exit_code == 0
    assert done.stdout == "  no-orphans  schema  None is\n"
    done = run("verify", "--list", "-o", "json")
    assert json.loads(done.stdout)["checks"][0]["id"] == "no-orphans"
    assert len(asked) == 1


def test_verify_lists_the_checks_of_the_categories_that_are_named() -> None:
    listed = run("verify", "--list", "-t", "audit", "-t", "rbac").stdout.splitlines()

    assert {line.split()[1] for line in listed} == {"audit", "rbac"}
    assert run("verify", "--list", "-t", "all").stdout == run("verify", "--list").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("-t", "tenanci"),
            '--test-type: no category is called "tenanci"; did you mean "tenancy"?',
        ),
        (("-t", "audit", "--only", "catalogue-is-golden"), "is in none of these categories"),
        (("--identity", "key.txt"), "--identity opens the backup of --restore, which is not asked"),
    ],
)
def test_verify_refuses_what_would_check_nothing(args: tuple[str, ...], said: str) -> None:
    done = run("verify", "-e", "staging", *args)

    assert done.exit_code == ExitCode.USAGE
    assert said in done.stderr


def test_quiet_findings_are_told_each_with_its_help_and_notes_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verify(*_: Any, **__: Any) -> Report:
        found = (
            Diagnostic(code="no-orphans", severity="error", message="orphans", hint="A;\nB;"),
            Diagnostic(code="all-fast", severity="warning", message="slow", hint="ANALYZE"),
            Diagnostic(code="all-fast", severity="note", message="by the way"),
        )
        return report("verify", "findings", exit_code=1, diagnostics=found)

    monkeypatch.setattr("opssight_migrate.commands.verify.verify", verify)
    done = run("verify", "-e", "staging", "-q")
    assert done.exit_code == ExitCode.FINDINGS
    assert done.stdout == ""
    assert done.stderr == (
        "error[no-orphans]: orphans\n  help: A;\n        B;\n"
        "warning[all-fast]: slow\n  help: ANALYZE\n"
    )


def test_a_configuration_error_is_a_document_too(place: Path) -> None:
    done = run("status", "-e", "stagin", "-o", "json")
    assert done.exit_code == ExitCode.CONFIG
    document = json.loads(done.stdout)
    assert document["diagnostics"][0]["code"] == UnknownEnvironmentError.code
    assert "did you mean 'staging'?" in done.stderr
    (place / "opssight.toml").write_text("[environments.staging]\nurll = 'x'\nulr = 'y'\n")
    done = run("status", "-e", "staging")
    assert done.exit_code == ExitCode.CONFIG
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "error[OM102]: 2 mistakes"


def test_a_warning_is_on_both_streams_when_they_go_to_different_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verify(*_: Any, emit: Any, **__: Any) -> Report:
        emit(Noted(severity="warning", message="look", code="OM310"))
        emit(Noted(severity="note", message="by the way"))
        diagnostics = (
            Diagnostic(severity="warning", message="look"),
            Diagnostic(severity="note", message="by the way"),
        )
        return report("verify", "ok", diagnostics=diagnostics)

    monkeypatch.setattr("opssight_migrate.commands.verify.verify", verify)
    done = run("verify", "-e", "staging", "--progress", "none")
    assert done.stderr == "warning[OM310]: look\n"
    assert "warning: look" in done.stdout
    assert "by the way" not in done.output
    assert "note: by the way" in run("verify", "-e", "staging", "-v").stderr
    assert run("verify", "-e", "staging", "-q").output == ""
