"""The deploy examples of the README, run as they stand there, as far as this machine can."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest
import yaml
from tests.cli.test_usage import SOURCE
from tests.conftest import DatabaseAt

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.opssight.revisions import START, TARGET
from opssight_migrate.postgres import chain, exclusive
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
NOWHERE = "postgresql://a@127.0.0.1:1/none"
_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")


def block(first_line: str) -> dict[str, Any]:
    """Return the indented block of the README that begins with a line."""
    found = re.search(rf"^    {re.escape(first_line)}\n(?:(?:    .*)?\n)+", README, re.MULTILINE)
    assert found is not None
    read: dict[str, Any] = yaml.safe_load(dedent(found[0]))
    return read


ACTIONS = block("jobs:")
JOB = block("apiVersion: batch/v1")
ARGS: list[str] = JOB["spec"]["template"]["spec"]["containers"][0]["args"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with a protected environment whose URL a variable names, and a remote branch."""
    (tmp_path / "opssight.toml").write_text(
        '[environments.production]\nurl_env = "DATABASE_URL"\nprotected = true\n'
        '[old_release]\nrehearse = false\n[environments.local]\nurl = "embedded"\n'
        '[defaults]\nlock_budget = "1s"\n'
    )
    (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "migrations"\n')
    shutil.copytree(chain.script_location(), tmp_path / "migrations")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@x"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=tmp_path)
    return tmp_path


def started(place: Path, words: list[str], url: str) -> subprocess.Popen[str]:
    """Start a command of an example, with the program that it names."""
    program = place / "bin" / "opssight-migrate"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m opssight_migrate "$@"\n')
    program.chmod(0o755)
    return subprocess.Popen(
        words,
        cwd=place,
        env={
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "HOME": str(place),
            "DATABASE_URL": url,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def code_of(process: subprocess.Popen[str]) -> int:
    """Return the exit code of a command."""
    process.communicate(timeout=120)
    return process.returncode


def action_for(code: int) -> str:
    """Return what Kubernetes does with a container that ended with ``code``."""
    for rule in JOB["spec"]["podFailurePolicy"]["rules"]:
        on = rule["onExitCodes"]
        if (code in on["values"]) is (on["operator"] == "In"):
            return str(rule["action"])
    return "Complete"


@contextmanager
def somebody_reads(url: str) -> Iterator[None]:
    """Hold a table that the first revision wants to itself."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        yield


def until_it_waits(process: subprocess.Popen[str]) -> None:
    """Read the events until one says who is in the way."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if '"lock_awaited"' in line:
            return
    raise AssertionError(said[-3:])


def revision_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row and row[0])


def test_the_actions_check_plan_and_migrate(place: Path, database_at: DatabaseAt) -> None:
    url = database_at(START)
    steps = [step for job in ACTIONS["jobs"].values() for step in job["steps"] if "run" in step]
    commands = [_EXPRESSION.sub("main", step["run"]) for step in steps]
    ran = [command for command in commands if not command.startswith("pip install")]
    assert len(ran) == 3
    for command in ran:
        assert code_of(started(place, ["bash", "-ec", command], url)) == 0, command
    assert revision_of(url) == TARGET


def test_the_job_ends_with_codes_that_its_policy_knows(
    place: Path, database_at: DatabaseAt
) -> None:
    url = database_at(START)
    policy = {code: action_for(code) for code in (int(one) for one in ExitCode)}
    again = {code for code, action in policy.items() if action == "Count"}
    assert again == {5, 6, 9, 130, 143}
    assert {code for code, action in policy.items() if action == "Complete"} == {0}

    assert code_of(started(place, ARGS, NOWHERE)) == ExitCode.CONNECT
    unsure = [word for word in ARGS if word != "--confirm"]
    unsure.remove("production")
    assert code_of(started(place, unsure, url)) == ExitCode.NOT_CONFIRMED
    with closing(Session(psycopg.connect(url, autocommit=True))) as other:
        exclusive.take(other)
        assert code_of(started(place, ARGS, url)) == ExitCode.BUSY
    with somebody_reads(url):
        assert code_of(started(place, ARGS, url)) == ExitCode.BUSY
        (place / "opssight.toml").write_text(
            (place / "opssight.toml").read_text().replace('"1s"', '"5m"')
        )
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            process = started(place, ARGS, url)
            until_it_waits(process)
            process.send_signal(number)
            assert code_of(process) == code
        process = started(place, ARGS, url)
        until_it_waits(process)
        end_the_run(url)
        assert code_of(process) == ExitCode.PARTIAL
    assert revision_of(url) == START
    assert code_of(started(place, ARGS, url)) == ExitCode.OK
    assert code_of(started(place, ARGS, url)) == ExitCode.OK
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE alerts CASCADE")
    assert code_of(started(place, ARGS, url)) == ExitCode.REFUSED
    assert action_for(ExitCode.REFUSED) == "FailJob"


def end_the_run(url: str) -> None:
    """End the sessions of the run, as an administrator, or a failover, would."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(100):
            ended = connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'opssight-migrate/%'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone()
            if ended and ended[0]:
                return
            time.sleep(0.05)
    raise AssertionError("no run is there")
