"""The verbs as a script meets them: streams, documents, exit codes. The work itself is a fake."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opssight_migrate.cli.app import app
from opssight_migrate.model.errors import (
    ExitCode,
    LockBudgetError,
    MigrateError,
    NotConfirmedError,
)
from opssight_migrate.model.events import PlanMade, RunStarted
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Estimate,
    Plan,
    PlannedStep,
)
from opssight_migrate.model.report import (
    Diagnostic,
    Environment,
    Next,
    Report,
    utc_now,
)

SECRET = "hunter2-and-more"
CONFIG = f"""
[environments.staging]
url = "postgresql://app:{SECRET}@db/opssight"

[environments.production]
url = "postgresql://app:{SECRET}@db/production"
protected = true
"""
HOSTILE = "[red]users[/x] <script> \x1b[31m"
PLAN = Plan(
    environment="staging",
    protected=False,
    origin="opssight.toml:3",
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
    announcements=(HOSTILE,),
)


def report(command: str = "migrate", **changes: Any) -> Report:
    facts: dict[str, Any] = {
        "tool": "opssight-migrate 0.1.0",
        "command": command,
        "status": "ok",
        "exit_code": 0,
        "started_at": utc_now(),
        "duration_ms": 10,
        "environment": Environment(name="staging", protected=False),
        "next": (Next(command="opssight-migrate verify -e staging", why="prove it"),),
    }
    return Report(**(facts | changes))


@dataclass
class Fake:
    """Stands for commands.migrate: tells the plan, asks, and ends as it was told to."""

    plan: Plan = PLAN
    ends: Callable[[], Report] = report
    asks: bool = True
    is_copy: bool = False
    request: Any = None
    profile: Any = None

    def __call__(
        self, settings: Any, profile: Any, request: Any, *, confirm: Any, emit: Any
    ) -> Report:
        self.request, self.profile = request, profile
        plan = replace(self.plan, environment=profile.name, protected=profile.protected)
        emit(PlanMade(plan=plan))
        if self.asks and not request.dry_run:
            try:
                confirm(plan, self.is_copy)
            except NotConfirmedError as error:
                return failed(error)
            emit(RunStarted(run_id="m1", resumes=None, steps_total=1))
        return self.ends().model_copy(update={"dry_run": request.dry_run})


def failed(error: MigrateError) -> Report:
    return report(
        status="refused",
        exit_code=int(error.exit_code),
        diagnostics=(
            Diagnostic(
                code=error.code,
                severity="error",
                message=error.message,
                hint=error.hint,
                state=error.touched.sentence,
            ),
        ),
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace the work of ``migrate``."""
    made = Fake()
    monkeypatch.setattr("opssight_migrate.commands.migrate.migrate", made)
    return made


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and nothing of the caller's environment."""
    for name in list(os.environ):
        if name.startswith("OPSSIGHT_"):
            monkeypatch.delenv(name)
    (tmp_path / ".git").mkdir()
    (tmp_path / "opssight.toml").write_text(CONFIG)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    done = CliRunner().invoke(app, args, prog_name="opssight-migrate")
    assert SECRET not in done.output
    assert "Traceback" not in done.output
    return done


def logs(place: Path) -> list[Path]:
    return sorted((place / "state/opssight-migrate/log").glob("*.log"))


def test_a_clean_run_writes_its_result_to_stdout_and_nothing_to_stderr(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--yes")
    assert done.exit_code == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("staging  app@db:5432/opssight  PostgreSQL 16.4")
    assert "[red]users[/x] <script> \\x1b[31m" in lines
    assert lines[-1] == "next: opssight-migrate verify -e staging  (prove it)"
    assert "\x1b" not in done.output
    assert fake.request.argv_hint == "-e staging"


def test_a_dry_run_shows_the_plan_and_leaves_no_log(fake: Fake, place: Path) -> None:
    fake.ends = lambda: report(status="pending")
    done = run("migrate", "-e", "production", "-n")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert "Dry run: nothing was changed. Plan " in done.stdout
    assert done.stdout.count("fill-it") == 1
    assert fake.request.dry_run
    assert logs(place) == []


@pytest.mark.parametrize(
    ("args", "status", "code"),
    [
        (["-n", "--detailed-exitcode"], "pending", 3),
        (["-n"], "pending", 0),
        (["-n", "--detailed-exitcode"], "nothing_to_do", 0),
        (["--yes", "--detailed-exitcode"], "ok", 0),
    ],
)
def test_pending_is_an_exit_code_of_its_own_only_where_asked_for(
    fake: Fake, args: list[str], status: str, code: int
) -> None:
    fake.ends = lambda: report(status=status)
    done = run("migrate", "-e", "staging", "-o", "json", *args)
    assert done.exit_code == code
    assert json.loads(done.stdout)["exit_code"] == code


def test_the_document_is_the_only_thing_on_stdout(fake: Fake, place: Path) -> None:
    done = run("migrate", "-e", "staging", "--yes", "-o", "json")
    document = json.loads(done.stdout)
    assert document["schema_version"] == "1.0"
    assert document["artifacts"][0]["kind"] == "log"
    assert Path(document["artifacts"][0]["path"]) == logs(place)[0]
    assert done.stderr == ""


def test_json_lines_end_with_the_document(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--yes", "-o", "jsonl")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("event") for line in told] == ["plan_made", "run_started", None]
    assert told[-1]["command"] == "migrate"


def test_an_output_file_is_private_and_stdout_stays_empty(fake: Fake, place: Path) -> None:
    (place / "out.json").write_text("older and longer than what comes now" * 1_000)
    (place / "out.json").chmod(0o644)
    done = run("migrate", "-e", "staging", "-n", "-o", "json", "--output-file", "out.json")
    assert done.stdout == ""
    assert json.loads((place / "out.json").read_text())["dry_run"] is True
    assert stat.S_IMODE((place / "out.json").stat().st_mode) == 0o600


def test_an_output_file_that_cannot_be_written_is_refused_before_any_work(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--yes", "--output-file", "no/such/file")
    assert done.exit_code == ExitCode.USAGE
    assert "error[OM101]: --output-file: cannot write no/such/file" in done.stderr
    assert fake.request is None


def test_quiet_leaves_errors_and_the_document(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--yes", "-q")
    assert (done.stdout, done.stderr) == ("", "")
    done = run("migrate", "-e", "staging", "--yes", "-q", "-o", "json")
    assert json.loads(done.stdout)["status"] == "ok"
    done = run("migrate", "-e", "staging", "-q")
    assert done.exit_code == ExitCode.NOT_CONFIRMED
    assert done.stdout == ""
    assert done.stderr.startswith("error[OM601]: ")


def test_a_failure_is_told_on_stderr_once_and_in_the_document(fake: Fake) -> None:
    error = LockBudgetError("no lock on users", hint="opssight-migrate migrate -e staging")
    fake.ends = lambda: failed(error)
    done = run("migrate", "-e", "staging", "--yes")
    assert done.exit_code == ExitCode.BUSY
    assert done.stderr.splitlines() == [
        "error[OM402]: no lock on users",
        "state: what was committed stays and is complete in itself; "
        "the same command goes on from there",
        "help:  opssight-migrate migrate -e staging",
    ]
    assert "no lock on users" not in done.stdout
    done = run("migrate", "-e", "staging", "--yes", "-o", "json")
    document = json.loads(done.stdout)
    assert document["diagnostics"][0]["code"] == "OM402"
    assert document["exit_code"] == done.exit_code


def test_blockers_are_in_the_plan_and_the_error_on_stderr(fake: Fake) -> None:
    fake.plan = replace(PLAN, blockers=(Blocker(message="no privilege", hint="GRANT …;"),))
    fake.asks = False
    fake.ends = lambda: failed(MigrateError("no privilege"))
    done = run("migrate", "-e", "staging", "-n")
    assert "blocked[OM301]: no privilege\n  help: GRANT …;" in done.stdout
    assert "error[OM700]: no privilege" in done.stderr


def test_without_a_terminal_the_question_is_not_asked(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--to", "80bd6a3c3fa1", "--allow", "OM308")
    assert done.exit_code == ExitCode.NOT_CONFIRMED
    again = "opssight-migrate migrate -e staging --to 80bd6a3c3fa1 --allow OM308 --yes"
    assert f"help:  {again}" in done.stderr


def test_a_protected_environment_wants_its_name(fake: Fake) -> None:
    assert run("migrate", "-e", "production", "--yes").exit_code == ExitCode.NOT_CONFIRMED
    assert run("migrate", "-e", "production", "--confirm", "staging").exit_code == 11
    assert run("migrate", "-e", "production", "--confirm", "production").exit_code == 0


def test_a_copy_wants_the_name_too(fake: Fake) -> None:
    fake.is_copy = True
    assert run("migrate", "-e", "staging", "--yes").exit_code == ExitCode.NOT_CONFIRMED
    assert run("migrate", "-e", "staging", "--confirm", "staging").exit_code == 0


def test_no_variable_selects_a_protected_environment(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSSIGHT_ENVIRONMENT", "production")
    done = run("migrate", "--yes")
    assert done.exit_code == ExitCode.CONFIG
    assert fake.request is None
    monkeypatch.setenv("OPSSIGHT_ENVIRONMENT", "staging")
    assert run("migrate", "--yes").exit_code == 0
    assert fake.profile.name == "staging"


def test_no_variable_answers_or_prints_the_version(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("YES", "CONFIRM", "VERSION", "DRY_RUN", "NO_INPUT", "MIGRATE_YES"):
        monkeypatch.setenv(f"OPSSIGHT_{name}", "1")
    done = run("migrate", "-e", "staging")
    assert done.exit_code == ExitCode.NOT_CONFIRMED
    assert not fake.request.dry_run


def test_variables_choose_the_form_and_the_log_directory(
    fake: Fake, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSSIGHT_OUTPUT", "json")
    monkeypatch.setenv("OPSSIGHT_LOG_DIR", str(place / "logs"))
    monkeypatch.setenv("OPSSIGHT_PROGRESS", "plain")
    done = run("migrate", "-e", "staging", "--yes")
    assert json.loads(done.stdout)["status"] == "ok"
    assert done.stderr == "run m1: 1 step\n"
    assert len(list((place / "logs").glob("migration_staging_*.log"))) == 1
    monkeypatch.setenv("OPSSIGHT_OUTPUT", "")
    assert not run("migrate", "-e", "staging", "--yes").stdout.startswith("{")


def test_a_log_directory_that_cannot_be_written_is_a_warning(fake: Fake, place: Path) -> None:
    (place / "file").write_text("")
    done = run("migrate", "-e", "staging", "--yes", "--log-dir", "file/log")
    assert done.exit_code == 0
    assert done.stderr.startswith("warning: no log file is written: file/log: ")
    assert fake.request is not None


def test_the_log_knows_the_environment_and_no_secret(fake: Fake, place: Path) -> None:
    run("migrate", "-e", "staging", "--yes")
    (log,) = logs(place)
    assert log.name.startswith("migration_staging_")
    text = log.read_text() + log.with_suffix(".jsonl").read_text()
    assert SECRET not in text
    assert "environment staging (opssight.toml:3)" in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_unexpected_exception_ends_as_a_bug_with_its_traceback_in_the_log_alone(
    fake: Fake, place: Path
) -> None:
    def breaks() -> Report:
        raise ZeroDivisionError(f"postgresql://app:{SECRET}@db/opssight {HOSTILE}")

    fake.ends = breaks
    done = run("migrate", "-e", "staging", "--yes", "-o", "json")
    document = json.loads(done.stdout)
    (log,) = logs(place)
    assert done.exit_code == ExitCode.BUG
    assert document["diagnostics"][0]["code"] == "OM700"
    assert document["diagnostics"][0]["location"] == str(log)
    assert str(log) in done.stderr
    assert "\x1b" not in done.stderr
    assert "state: not known" in done.stderr
    assert "ZeroDivisionError" in log.read_text()
    assert "Traceback" in log.read_text()
    assert SECRET not in log.read_text()


def test_a_bug_in_a_verb_without_a_log_gets_one(fake: Fake, place: Path) -> None:
    fake.ends = lambda: 1 // 0  # type: ignore[return-value,assignment]
    done = run("migrate", "-e", "staging", "-n")
    (log,) = logs(place)
    assert done.exit_code == ExitCode.BUG
    assert log.name.startswith("crash_staging_")
    assert str(log) in done.stderr


def test_ctrl_c_outside_a_run_is_130_and_changed_nothing(fake: Fake) -> None:
    def interrupted() -> Report:
        raise KeyboardInterrupt

    fake.ends = interrupted
    done = run("migrate", "-e", "staging", "-n", "-o", "json")
    assert done.exit_code == ExitCode.INTERRUPTED
    assert json.loads(done.stdout)["status"] == "interrupted"
    assert "state: nothing was changed" in done.stderr
    done = run("migrate", "-e", "staging", "--yes")
    assert done.exit_code == ExitCode.INTERRUPTED
    assert "state: not known" in done.stderr


def test_color_always_colours_the_labels_and_never_the_text(fake: Fake) -> None:
    done = run("migrate", "-e", "staging", "--color", "always")
    assert "\x1b[31;1merror[OM601]:\x1b[0m nobody can answer" in done.stderr
    assert "\\x1b[31m" in done.stdout
    assert "\x1b" not in run("migrate", "-e", "staging", "--color", "never").output
