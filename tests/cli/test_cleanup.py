"""``cleanup`` as a script meets it: what it retires, and who agreed. The work itself is a fake."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_rollback import place as place
from tests.cli.test_verbs import PLAN, failed, report
from typer.testing import CliRunner, Result

from opssight_migrate.cli.app import app
from opssight_migrate.commands.cleanup import CleanupRequest
from opssight_migrate.engine import retirement
from opssight_migrate.model.errors import NotConfirmedError
from opssight_migrate.model.report import Report


@dataclass
class Fake:
    """Stands for commands.cleanup: asks, and ends well."""

    request: CleanupRequest | None = None

    def __call__(
        self, settings: Any, profile: Any, request: CleanupRequest, *, confirm: Any, emit: Any
    ) -> Report:
        self.request = request
        try:
            confirm(replace(PLAN, environment=profile.name, protected=profile.protected), False)
        except NotConfirmedError as error:
            return failed(error)
        return report("cleanup")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace the work of ``cleanup``."""
    made = Fake()
    monkeypatch.setattr("opssight_migrate.commands.cleanup.cleanup", made)
    return made


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, ["cleanup", *args])


def test_all_is_everything_but_retired_databases_and_adopted_chunks(
    fake: Fake, place: Path
) -> None:
    done = invoke("--all", "--yes", "--keep-last", "5", "--older-than", "7d")

    assert done.exit_code == 0, done.output
    assert fake.request == CleanupRequest(
        kinds=retirement.ALL,
        keep_last=5,
        older_than=timedelta(days=7),
        log_dir=place / "log",
        argv_hint="-e staging",
    )
    [log] = (place / "log").glob("*.log")
    assert log.name.startswith("cleanup_staging_")


def test_adopted_chunks_are_named_by_themselves_with_the_window_that_is_granted(
    fake: Fake, place: Path
) -> None:
    unsaid = invoke("-e", "production", "--chunks", "--window", "10m")
    assert unsaid.exit_code == 11
    assert "--chunks --window 600s --confirm production" in unsaid.stderr

    done = invoke("--chunks", "--window", "10m", "--yes")

    assert done.exit_code == 0, done.output
    assert fake.request == CleanupRequest(
        kinds=("chunks",), window_s=600.0, log_dir=place / "log", argv_hint="-e staging"
    )


def test_the_old_release_is_said_to_be_gone_beside_the_environments_name(fake: Fake) -> None:
    said = ("--confirm", retirement.CONFIRMATION)
    refused = invoke("-e", "production", "--shims", *said)
    assert refused.exit_code == 11
    assert "--shims --confirm old-release-is-gone --confirm production" in refused.stderr

    agreed = invoke("-e", "production", "--shims", *said, "--confirm", "production")

    assert agreed.exit_code == 0
    assert fake.request is not None
    assert fake.request.release_is_gone
    assert invoke("--shims", *said).exit_code == 11  # it is no answer to the question
    assert invoke("--shims", "--yes").exit_code == 0
    assert not fake.request.release_is_gone


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "say what to retire"),
        (("--logs", "--older-than", "a while"), "--older-than"),
        (("--logs", "--keep-last", "0"), "--keep-last"),
        (("--logs", "--window", "1m"), "--window is for --chunks"),
        (("--chunks", "--window", "a while"), "--window"),
    ],
)
def test_what_is_unclear_is_refused_before_any_work(
    fake: Fake, args: tuple[str, ...], said: str
) -> None:
    done = invoke(*args, "-o", "json")

    assert done.exit_code == 2
    assert said in done.stderr
    assert json.loads(done.stdout)["status"] == "refused"
    assert fake.request is None
