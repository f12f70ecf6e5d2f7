"""``explain``, ``init``, ``doctor`` and ``history`` from a real process on a real server."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt
from tests.least import as_superuser

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.opssight.revisions import START

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def configured(place: Path, conninfo: str) -> None:
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n\n'
        f'[environments.test]\nurl = "{conninfo}"\npassword_command = "printf planted-secret"\n'
    )


def test_explain_needs_no_configuration(place: Path) -> None:
    (place / "opssight.toml").write_text("broken")
    done = run("explain", "om402", cwd=place)
    assert done.returncode == 0
    assert done.stdout.startswith("OM402: A lock could not be had within the budget")
    assert "\nstate: " in done.stdout
    assert "\nhelp:  " in done.stdout
    assert run("explain", "OM999", cwd=place).returncode == ExitCode.USAGE
    assert "drop-column" in run("explain", cwd=place).stdout


def test_explain_prints_the_schema(place: Path) -> None:
    assert json.loads(run("explain", "--schema", cwd=place).stdout)["title"] == "Report"


def test_init_writes_a_file_that_is_valid_and_never_overwrites(place: Path) -> None:
    assert run("init", cwd=place).returncode == 0
    text = (place / "opssight.toml").read_text()
    assert tomllib.loads(text)["environments"]["local"]["url"] == "embedded"
    assert run("check", "--only", "configuration", cwd=place).returncode == 0
    (place / "opssight.toml").write_text("mine")
    done = run("init", cwd=place)
    assert done.returncode == ExitCode.USAGE
    assert "opssight.toml is there already" in done.stderr
    assert (place / "opssight.toml").read_text() == "mine"


def test_doctor_says_every_value_and_where_it_came_from(
    place: Path, database_at: DatabaseAt
) -> None:
    configured(place, database_at(START, filled=False))
    done = run("doctor", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "project.default_environment = test  (opssight.toml:2)" in done.stdout
    assert "defaults.lock_budget = 5m  (built-in default)" in done.stdout
    assert "planted-secret" not in done.stdout
    assert "  ok       privileges  " in done.stdout
    assert "next: opssight-migrate status -e test" in done.stdout


def test_doctor_prints_each_grant_that_is_lacking(place: Path, database_at: DatabaseAt) -> None:
    conninfo = database_at(START, filled=False)
    role = f"poor_{place.name[-8:]}".replace("-", "_")
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        try:
            poor = psycopg.conninfo.make_conninfo(conninfo, user=role)
            configured(place, poor)
            done = run("doctor", "-o", "json", cwd=place)
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == ExitCode.FINDINGS
    grants = [one["hint"] for one in document["diagnostics"] if one["code"] == "privileges"]
    assert any(grant.startswith("GRANT CREATE ON DATABASE") for grant in grants)
    assert all(f'"{role}"' in grant for grant in grants)


def test_doctor_goes_on_behind_a_server_that_does_not_answer(place: Path) -> None:
    configured(place, "postgresql://a@127.0.0.1:1/none")
    done = run("doctor", cwd=place)
    assert done.returncode == ExitCode.FINDINGS
    assert "FAILED   connection" in done.stdout
    assert "error: OM201: " in done.stdout
    assert "ok       disk" in done.stdout


def test_history_tells_the_runs_and_one_of_them_in_detail(
    place: Path, database_at: DatabaseAt
) -> None:
    configured(place, database_at(START))
    done = run("history", cwd=place)
    assert (done.returncode, done.stdout) == (0, "no run was made on this database yet\n")
    assert run("migrate", "--yes", cwd=place).returncode == 0
    document = json.loads(run("history", "-o", "json", cwd=place).stdout)
    (entry,) = document["runs"]
    assert (entry["command"], entry["status"]) == ("migrate", "ok")
    done = run("history", entry["id"], cwd=place)
    assert f"run          {entry['id']}" in done.stdout
    assert "done    assign-roles" in done.stdout
    assert run("history", "nonsense", cwd=place).returncode == ExitCode.USAGE
