"""The eleven rules that people rely on, each from a real process, by its number."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.cli import causes
from tests.cli.causes import MIGRATE, NOWHERE, Scene
from tests.cli.test_contract import LISTING
from tests.cli.test_usage import run
from tests.commands.conftest import everything
from tests.conftest import NewDatabase
from tests.least import WORKER

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY, START
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

PLAIN_TABLES = '[time_series]\nengine = "plain"'
HOSTILE = "a[red]b[/x] <script>"


def test_rule_1_the_plan_of_a_dry_run_is_the_plan_before_the_question(scene: Scene) -> None:
    session = Session(scene.connected(scene.populated()))
    session.prepare()
    before = everything(session)

    done = run("migrate", "-n", cwd=scene.place)
    asked = scene.asked("migrate", answer="n")

    *plan, dry_run, following = done.stdout.splitlines()
    assert dry_run.startswith("Dry run: nothing was changed. Plan ")
    assert following.startswith("next: opssight-migrate migrate -e test")
    assert asked.code == ExitCode.NOT_CONFIRMED
    assert asked.said.splitlines()[: len(plan)] == plan
    assert everything(session) == before


def test_rule_2_a_protected_environment_wants_its_name_and_is_never_the_default(
    scene: Scene,
) -> None:
    url = scene.populated("protected = true", at=AUDIT)
    assert '"test" is protected and cannot be the default' in scene.run("status").said
    assert scene.run("status").code == ExitCode.CONFIG
    scene.configure(url, "protected = true", default=False)
    scene.env["OPSSIGHT_ENVIRONMENT"] = "test"
    assert scene.run(*MIGRATE).code == ExitCode.CONFIG
    scene.env.clear()

    by_name = ("migrate", "-e", "test")
    alone = scene.run(*by_name, "--yes")
    assert alone.code == scene.run(*by_name, "--confirm", "tset").code == ExitCode.NOT_CONFIRMED
    assert "--yes alone does not do" in alone.said
    assert "help:  opssight-migrate migrate -e test --confirm test\n" in alone.said
    assert scene.asked(*by_name, question="name: ", answer="y").code == ExitCode.NOT_CONFIRMED
    assert scene.run(*by_name, "--confirm", "test").code == ExitCode.OK


def test_rule_3_a_database_knows_its_environment_and_a_copy_is_adopted_once(
    scene: Scene, new_database: NewDatabase
) -> None:
    url = scene.populated()
    told = run(*MIGRATE, "--to", MULTI_TENANCY, cwd=scene.place)
    facts = conninfo_to_dict(url)
    where = f"{WORKER}@[{facts['host']}]:{facts['port']}/{facts['dbname']}"
    assert re.match(
        rf"test  {re.escape(where)}  PostgreSQL \d+\S+  \(opssight.toml:4\)", told.stdout
    )
    scene.configure(url, name="other")
    for words in (
        MIGRATE,
        ("rollback", "--to-revision", START, "--yes"),
        ("cleanup", "--artifacts"),
    ):
        ended = scene.run(*words)
        assert (ended.code, "error[OM104]: " in ended.said) == (ExitCode.CONFIG, True), ended.said

    copied = str(conninfo_to_dict(new_database(str(facts["dbname"])))["dbname"])
    scene.configure(make_conninfo(url, dbname=copied))
    refused = scene.run(*MIGRATE)
    assert (refused.code, "is a copy of" in refused.said) == (ExitCode.NOT_CONFIRMED, True)
    assert scene.run("migrate", "--confirm", "test").code == ExitCode.OK
    assert scene.run("cleanup", "--artifacts", "--yes").code == ExitCode.OK
    scene.configure(url)  # the original was not marked anew, and is no copy
    assert scene.run(*MIGRATE).code == ExitCode.OK


def test_rule_4_stdout_has_the_result_and_stderr_the_rest(scene: Scene) -> None:
    scene.populated(PLAIN_TABLES, at=AUDIT)

    refused = run("migrate", "-o", "json", cwd=scene.place)
    done = run(*MIGRATE, "-o", "json", cwd=scene.place)
    again = run(*MIGRATE, cwd=scene.place)

    assert json.loads(refused.stdout)["exit_code"] == refused.returncode == 11
    assert refused.stderr.startswith("error[OM601]: ")
    assert json.loads(done.stdout)["status"] == "ok"
    assert done.stderr == again.stderr == ""
    assert "nothing to do" in again.stdout


def test_rule_5_text_from_a_database_is_never_markup(scene: Scene) -> None:
    connection = scene.connected(scene.populated())
    connection.execute(f'CREATE INDEX "{HOSTILE}" ON users (full_name)')

    piped = run("migrate", "-n", cwd=scene.place, COLUMNS="80")
    seen = scene.asked("migrate", answer="n", color="always")

    assert f"Kept as they are: index users.{HOSTILE}." in piped.stdout
    assert max(map(len, piped.stdout.splitlines())) > 120  # neither folded nor cut
    assert "\x1b" not in piped.stdout + piped.stderr
    assert f"index users.{HOSTILE}." in re.sub(r"\x1b\[[0-9;]*m", "", seen.said)


def test_rules_5_and_6_waiting_is_never_silent(scene: Scene) -> None:
    other = scene.connected(scene.populated('lock_budget = "11s"'))
    other.execute("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE")

    ended = scene.run(*MIGRATE)

    waiting = [line for line in ended.said.splitlines() if line.startswith("waiting ")]
    first = re.match(
        rf"waiting (<1|1\.\d) s for ACCESS EXCLUSIVE on users: held by pid {other.info.backend_pid}"
        r".*; nobody queues behind us; giving up in \d+",
        waiting[0],
    )
    assert first, ended.said
    assert re.search(r"still at work after (9\.\d|1\d) s, waiting ", ended.said)
    assert ended.code == ExitCode.BUSY


def test_rule_7_a_summary_ends_with_next_and_an_error_can_be_looked_up(scene: Scene) -> None:
    scene.connected(scene.populated()).execute("DROP INDEX ix_users_email")

    done = run("status", cwd=scene.place)
    ended = scene.run(*MIGRATE)

    assert "\nstatus: a migration would be refused\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next: opssight-migrate migrate -n -e test  (")
    said = dict(line.split(": ", 1) for line in ended.said.splitlines() if ": " in line)
    assert "ix_users_email" in said["error[OM302]"]
    assert said["state"] == "nothing was changed"
    assert "CREATE UNIQUE INDEX" in said["help"]
    (scene.place / "opssight.toml").write_text("[broken")
    explained = run("explain", "OM302", cwd=scene.place)
    assert (explained.returncode, explained.stdout[:7]) == (0, "OM302: ")


def test_rule_8_ctrl_c_ends_after_the_batch_and_the_same_command_goes_on(scene: Scene) -> None:
    stopped = causes.ctrl_c(scene)
    scene.stack.close()  # whoever held the lock lets go

    again = scene.run(*MIGRATE, "--progress", "plain")

    assert stopped.code == ExitCode.INTERRUPTED
    assert "SIGINT: stopping after the current batch\n" in stopped.said
    assert again.code == ExitCode.OK
    assert re.search(r"^run m\w+: \d steps, goes on from run m\w+$", again.said, re.MULTILINE)


@contextmanager
def asking_for_a_password() -> Iterator[tuple[int, list[str]]]:
    """A server that asks whoever comes for a password; what it was told."""
    told: list[str] = []

    def listen() -> None:
        with listener.accept()[0] as client, client.makefile("rb") as spoken:
            spoken.read(int.from_bytes(spoken.read(4)) - 4)
            client.sendall(b"R" + (8).to_bytes(4) + (3).to_bytes(4))  # in clear, please
            spoken.read(1)
            told.append(spoken.read(int.from_bytes(spoken.read(4)) - 4).rstrip(b"\0").decode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=listen, daemon=True)
        serving.start()
        yield listener.getsockname()[1], told
        serving.join(10)


@pytest.mark.parametrize("how", ["url", "password_command", ".pgpass", "pg_service.conf", "PG*"])
def test_rule_9_a_password_may_come_from_wherever_libpq_takes_one(scene: Scene, how: str) -> None:
    with asking_for_a_password() as (port, told):
        there = f"postgresql://app@127.0.0.1:{port}/x"
        gss = {"PGGSSENCMODE": "disable", "PGSSLMODE": "disable"}
        scene.env |= gss
        match how:
            case "url":
                scene.configure(there.replace("app@", "app:s3cret@"))
            case "password_command":
                scene.configure(there, 'password_command = "printf s3cret"')
            case ".pgpass":
                scene.configure(there)
                (scene.place / ".pgpass").write_text(f"127.0.0.1:{port}:x:app:s3cret\n")
                (scene.place / ".pgpass").chmod(0o600)
            case "pg_service.conf":
                where = f"[s]\nhost=127.0.0.1\nport={port}\ndbname=x\nuser=app\npassword=s3cret\n"
                (scene.place / ".pg_service.conf").write_text(where)
                scene.configure(None, 'service = "s"')
            case _:
                scene.configure(None)
                scene.env |= {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGPASSWORD": "s3cret"}
        ended = scene.run("status", "-v")

    assert told == ["s3cret"]
    assert ended.code == ExitCode.CONNECT
    assert "s3cret" not in ended.said


def test_rule_10_what_is_unknown_is_refused_before_any_connection(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"postgresql://a@127.0.0.1:{listener.getsockname()[1]}/x"
        scene.configure(url)
        option = scene.run("migrate", "--dry-rum")
        scene.configure(url, 'lock_bugdet = "5m"')
        key = scene.run("migrate", "-n")

        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (option.code, "did you mean --dry-run?" in option.said) == (ExitCode.USAGE, True)
    assert (key.code, "did you mean 'lock_budget'?" in key.said) == (ExitCode.CONFIG, True)


@pytest.mark.parametrize("asked", ["--help", "--version", "completion"])
def test_rule_11_help_version_and_completion_load_nothing_that_takes_time(
    scene: Scene, asked: str
) -> None:
    scene.configure(NOWHERE)
    words = () if asked == "completion" else (asked,)
    tab = {"COMP_WORDS": "opssight-migrate status -e te", "COMP_CWORD": "3"}
    env = {"_OPSSIGHT_MIGRATE_COMPLETE": "complete_bash", **tab} if not words else {}

    done = run(*words, cwd=scene.place, code=LISTING, **env)

    assert done.stdout.endswith("IMPORTED []\n")
    assert words or done.stdout.startswith("test\n")
