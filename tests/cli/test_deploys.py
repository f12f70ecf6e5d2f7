"""What a pipeline relies on: a plan that holds, its turn, who may, and what a collector reads."""

from __future__ import annotations

import getpass
import json
import stat
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import exclusive
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.fixture
def url(place: Path, database_at: DatabaseAt) -> str:
    """A database at the start, and a configuration for it."""
    made = database_at(START)
    configure(place, made)
    return made


def configure(place: Path, url: str, *lines: str) -> None:
    (place / "opssight.toml").write_text(
        "\n".join(
            [
                '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false',
                "[verify]\nrehearse = false",
                f'[environments.test]\nurl = "{url}"',
                *lines,
            ]
        )
    )


def revision_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


def test_a_plan_that_was_kept_is_carried_out_while_it_holds(place: Path, url: str) -> None:
    done = run("migrate", "-n", "--plan-out", "plan.json", cwd=place)
    assert done.returncode == 0
    kept = json.loads((place / "plan.json").read_text())
    assert stat.S_IMODE((place / "plan.json").stat().st_mode) == 0o600
    assert f"Plan {kept['digest']}." in done.stdout
    with psycopg.connect(url, autocommit=True) as connection:  # a few rows more are no other plan
        connection.execute("DELETE FROM notification_logs WHERE id IN (SELECT min(id) FROM users)")
    done = run("migrate", "--plan", "plan.json", "--yes", cwd=place)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("statement", "moved"),
    [
        ("CREATE INDEX somebody_s ON users (full_name)", "the catalogue has changed"),
        (
            "INSERT INTO users (github_id, github_username, email, is_active, is_superuser)"
            " SELECT 'g' || n, 'u' || n, 'e' || n, true, false FROM generate_series(1, 9000) AS n",
            "assign-roles has ",
        ),
    ],
)
def test_a_plan_that_moved_is_refused(place: Path, url: str, statement: str, moved: str) -> None:
    run("migrate", "-n", "--plan-out", "plan.json", cwd=place)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
        connection.execute("ANALYZE users")
    done = run("migrate", "--plan", "plan.json", "--yes", cwd=place)
    assert done.returncode == ExitCode.REFUSED
    assert "error[OM313]: the plan " in done.stderr
    assert moved in done.stderr
    assert "-n --plan-out FILE" in done.stderr
    assert revision_of(url) == START


def test_a_plan_file_that_is_none_is_wrong_usage(place: Path, url: str) -> None:
    (place / "plan.json").write_text("[]")
    done = run("migrate", "--plan", "plan.json", "--yes", cwd=place)
    assert done.returncode == ExitCode.USAGE
    assert "plan.json is no plan of this version" in done.stderr
    assert run("migrate", "-n", "--plan-out", "no/plan", cwd=place).returncode == ExitCode.USAGE


def test_waiting_for_another_run_is_told_and_ends(place: Path, url: str) -> None:
    with closing(Session(psycopg.connect(url, autocommit=True))) as other:
        exclusive.take(other)
        done = run("migrate", "--yes", "--wait", "2s", cwd=place)
    assert done.returncode == ExitCode.BUSY
    assert "; waiting up to 2 s" in done.stderr
    assert "error[OM401]: another run holds this database" in done.stderr
    assert run("migrate", "--yes", "--wait", "soon", cwd=place).returncode == ExitCode.USAGE


def test_a_deadline_stops_the_run_and_the_same_command_goes_on(place: Path, url: str) -> None:
    done = run("migrate", "--yes", "--deadline", "1ms", "-o", "json", cwd=place)
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) == (ExitCode.PARTIAL, "partial")
    assert told["diagnostics"][-1]["code"] == "OM509"
    assert "goes on from there" in told["diagnostics"][-1]["state"]
    assert run("migrate", "--yes", "--deadline", "never", cwd=place).returncode == ExitCode.USAGE
    again = run("migrate", "--yes", "--deadline", "1h", cwd=place)
    assert again.returncode == 0, again.stderr
    runs = json.loads(run("history", "-o", "json", cwd=place).stdout)["runs"]
    assert [one["status"] for one in runs] == ["ok", "interrupted"]


def test_metrics_are_a_text_file_whatever_the_end(place: Path, url: str) -> None:
    assert run("migrate", "--metrics-file", "om.prom", cwd=place).returncode == 11
    text = (place / "om.prom").read_text()
    labels = '{command="migrate",environment="test"}'
    assert f"opssight_migrate_exit_code{labels} 11\n" in text
    assert f"opssight_migrate_success{labels} 0\n" in text
    assert run("migrate", "--yes", "--metrics-file", "om.prom", cwd=place).returncode == 0
    text = (place / "om.prom").read_text()
    assert f"opssight_migrate_success{labels} 1\n" in text
    assert text.count("# TYPE ") == text.count("# HELP ") == 8
    done = run("migrate", "--yes", "--metrics-file", "no/om.prom", cwd=place)
    assert done.returncode == 0
    assert "warning: --metrics-file: cannot write no/om.prom" in done.stderr


@pytest.mark.parametrize("words", [["migrate"], ["rollback", "--to-revision", START]])
def test_who_is_no_operator_is_refused_and_the_attempt_is_written_down(
    place: Path, url: str, words: list[str]
) -> None:
    configure(place, url, 'operators = ["db:nobody_at_all", "os:nobody_at_all"]')
    assert run(*words, "--yes", cwd=place).returncode == ExitCode.REFUSED  # no journal yet
    configure(place, url, f'operators = ["os:{getpass.getuser()}"]')
    assert run("migrate", "--yes", cwd=place).returncode == 0

    configure(place, url, 'operators = ["db:nobody_at_all"]')
    before = revision_of(url)
    done = run(*words, "--yes", cwd=place)

    assert done.returncode == ExitCode.REFUSED
    assert "error[OM314]: db:" in done.stderr
    assert "help:  ask one of: db:nobody_at_all" in done.stderr
    assert revision_of(url) == before
    newest = json.loads(run("history", "-o", "json", cwd=place).stdout)["runs"][0]
    assert (newest["command"], newest["status"]) == (words[0], "refused")
    assert newest["error"].startswith("OM314: ")
    assert run("status", cwd=place).returncode == 0
    assert run("verify", "-t", "audit", cwd=place).returncode == 0


def test_an_operator_has_a_kind(place: Path) -> None:
    configure(place, "postgresql://a@b/c", 'operators = ["alice"]')
    done = run("status", cwd=place)
    assert done.returncode == ExitCode.CONFIG
    assert "operators" in done.stderr
