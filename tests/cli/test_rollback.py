"""``rollback`` as a script meets it: options, questions, exit codes. The work itself is a fake."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.cli.test_verbs import CONFIG, PLAN, failed, report
from typer.testing import CliRunner, Result

from opssight_migrate.cli import completion
from opssight_migrate.cli.app import app
from opssight_migrate.commands.rollback import RollbackRequest
from opssight_migrate.model.errors import NotConfirmedError
from opssight_migrate.model.events import PlanMade, RunStarted
from opssight_migrate.model.report import Report

START = "d8b40ecdc203"


@dataclass
class Fake:
    """Stands for commands.rollback: tells the plan, asks, and ends well."""

    request: RollbackRequest | None = None

    def __call__(
        self,
        settings: Any,
        profile: Any,
        request: RollbackRequest,
        *,
        confirm: Any,
        emit: Any,
        safety_backup: Any,
    ) -> Report:
        assert callable(safety_backup)
        self.request = request
        plan = replace(PLAN, environment=profile.name, protected=profile.protected)
        emit(PlanMade(plan=plan))
        if request.dry_run:
            return report("rollback", status="pending", dry_run=True)
        try:
            confirm(plan, False)
        except NotConfirmedError as error:
            return failed(error)
        emit(RunStarted(run_id="r1", resumes=None, steps_total=1))
        return report("rollback")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace the work of ``rollback``."""
    made = Fake()
    monkeypatch.setattr("opssight_migrate.commands.rollback.rollback", made)
    return made


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and nothing of the caller's environment."""
    for name in list(os.environ):
        if name.startswith("OPSSIGHT_"):
            monkeypatch.delenv(name)
    (tmp_path / ".git").mkdir()
    head = '[project]\ndefault_environment = "staging"\n'
    (tmp_path / "opssight.toml").write_text(head + CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPSSIGHT_LOG_DIR", str(tmp_path / "log"))
    return tmp_path


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, ["rollback", *args])


def test_it_goes_where_it_is_told_and_leaves_a_log_of_its_own(fake: Fake, place: Path) -> None:
    done = invoke("--type", "schema", "--to-revision", START, "--yes")

    assert done.exit_code == 0, done.output
    assert fake.request == RollbackRequest(to_revision=START, argv_hint="-e staging")
    [log] = (place / "log").glob("*.log")
    assert log.name.startswith("rollback_staging_")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_run_is_named_by_its_id(fake: Fake) -> None:
    assert invoke("--run", "m0123456789", "-n").exit_code == 0
    assert fake.request == RollbackRequest(run="m0123456789", dry_run=True, argv_hint="-e staging")


def test_a_dry_run_writes_no_log_and_can_exit_3(fake: Fake, place: Path) -> None:
    done = invoke("--to-revision", START, "-n", "--detailed-exitcode")

    assert done.exit_code == 3
    assert not (place / "log").exists()


def test_it_writes_the_same_report_as_migrate_and_verify(fake: Fake, place: Path) -> None:
    done = invoke("--to-revision", START, "--yes", "--report", "back.html", "-o", "json")

    page = (place / "back.html").read_text()
    assert "<h1>rollback: done</h1>" in page
    assert (place / "back.html").stat().st_mode & 0o777 == 0o600
    assert "back.html" in [one["path"] for one in json.loads(done.stdout)["artifacts"]]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "name one of --to-revision and --run"),
        (("--to-revision", START, "--run", "m1"), "name one of --to-revision and --run"),
        (("--to-revision", "d8b4"), "--to-revision"),
        (("--type", "none", "--to-revision", START), "--type"),
        (("--type", "data"), "--type data needs --backup-file"),
        (("--type", "full", "--backup-file", "b"), "--type full needs --to-revision"),
        (
            ("--type", "full", "--backup-file", "b", "--to-revision", START, "--into", "x"),
            "--type full takes no --into",
        ),
        (
            ("--type", "data", "--backup-file", "b", "--to-revision", START),
            "--to-revision does not go with --type data",
        ),
        (("--type", "full", "--backup-file", "b", "--run", "m1"), "--run does not go"),
        (("--type", "full", "--backup-file", "b", "--to-revision", "d8b4"), "--to-revision"),
        (("--to-revision", START, "--terminate"), "--terminate goes with --type data or full"),
    ],
)
def test_what_is_unclear_is_refused_before_any_work(
    fake: Fake, args: tuple[str, ...], said: str
) -> None:
    done = invoke(*args, "-o", "json")

    assert done.exit_code == 2
    assert said in done.stderr
    assert json.loads(done.stdout)["command"] == "rollback"
    assert fake.request is None


@pytest.mark.parametrize("args", [(), ("--yes",)])
def test_a_protected_environment_asks_for_its_name(fake: Fake, args: tuple[str, ...]) -> None:
    done = invoke("-e", "production", "--to-revision", START, *args)

    assert done.exit_code == 11
    assert f"rollback -e production --to-revision {START} --confirm production" in done.stderr
    named = invoke("-e", "production", "--to-revision", START, "--confirm", "production")
    assert named.exit_code == 0


def test_completion_offers_the_runs_of_the_log_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"
    monkeypatch.setenv("OPSSIGHT_LOG_DIR", str(logs))

    nothing_given: Any = SimpleNamespace(params={})
    assert completion.runs(nothing_given, "") == []
    logs.mkdir()
    for day, run_id in (("01", "maaaaaaaaaa"), ("02", "mbbbbbbbbbb")):
        event = json.dumps({"event": "run_started", "run_id": run_id})
        (logs / f"migration_staging_202611{day}T000000Z.jsonl").write_text(f"{{}}\n{event}\n")

    assert [run for run, _ in completion.runs(nothing_given, "m")] == [
        "mbbbbbbbbbb",
        "maaaaaaaaaa",
    ]
    assert [run for run, _ in completion.runs(nothing_given, "ma")] == ["maaaaaaaaaa"]
