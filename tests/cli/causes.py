"""What makes each error code come about: a scene, and the process that meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString
from uuid import uuid4

import pexpect
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.cli.test_usage import SOURCE, run
from tests.conftest import DatabaseAt, run_on
from tests.least import OWNER, WORKER, as_superuser
from tests.postgres.pooler import pooled
from tests.standby import standing_by

from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import exclusive
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

NOWHERE = "postgresql://a@127.0.0.1:1/none"
MIGRATE = ("migrate", "--yes")
# What a server does at every CREATE TABLE of ours: a full disk, a provider's limit, an
# administrator, a newer run, or somebody whose writes no statistics count.
_AT_A_TABLE = """
CREATE FUNCTION at_a_table() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'public') THEN
        {}
    END IF;
END $$;
CREATE EVENT TRIGGER at_a_table ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION at_a_table();
"""
NO_ROWS = """
CREATE FUNCTION no_rows() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
CREATE TRIGGER no_rows BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION no_rows();
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code, and what it said on stderr or on its terminal."""

    code: int | None
    said: str


@dataclass(slots=True)
class Scene:
    """Where a cause is set: a directory, a server, what goes with the end of the test."""

    place: Path
    server: Cluster
    database_at: DatabaseAt
    stack: ExitStack
    env: dict[str, str] = field(default_factory=dict[str, str])
    url: str = NOWHERE

    def configure(
        self, url: str | None = NOWHERE, *lines: str, name: str = "test", default: bool = True
    ) -> str:
        """Write a configuration whose environment is at ``url``; None: libpq has to know."""
        first = name if default else "local"
        self.url = url or ""
        (self.place / "opssight.toml").write_text(
            f'[project]\ndefault_environment = "{first}"\n[environments.{name}]\n'
            + (f'url = "{url}"\n' if url else "")
            + "\n".join([*lines, "" if "[old_release]" in lines else _NOT_REHEARSED])
        )
        return self.url

    def populated(self, *lines: str, at: str = START) -> str:
        """Configure a database in use."""
        return self.configure(self.database_at(at), *lines)

    def connected(self, url: str) -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection of the superuser for the length of the test."""
        return self.stack.enter_context(psycopg.connect(as_superuser(url), autocommit=True))

    def run(self, *words: str) -> Ended:
        """Run the program to its end."""
        done = run(*words, cwd=self.place, **self.env)
        return Ended(done.returncode, done.stderr)

    def signalled(self, number: signal.Signals, *words: str, at: str) -> Ended:
        """Send it a signal as soon as it says ``at`` on stderr."""
        with subprocess.Popen(
            [sys.executable, "-m", "opssight_migrate", *words, "--progress", "plain"],
            cwd=self.place,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            said = ""
            while at not in said and (line := process.stderr.readline()):
                said += line
            process.send_signal(number)
            said += process.stderr.read()
            return Ended(process.wait(60), said)

    def asked(
        self,
        *words: str,
        question: str = "[y/N] ",
        answer: str = "y",
        color: str = "never",
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Ended:
        """Run it on a terminal, and answer its question, ``meanwhile`` having been done."""
        child = pexpect.spawn(
            sys.executable,
            ["-m", "opssight_migrate", *words, "--color", color, "--progress", "plain"],
            cwd=str(self.place),
            env=self._environment() | {"TERM": "xterm"},
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 400),
        )
        child.expect_exact(question)
        said = str(child.before)
        meanwhile()
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        return Ended(child.exitstatus, f"{said}{child.before}".replace("\r\n", "\n"))

    def may_see_others(self) -> None:
        """Give the worker what ``doctor`` notes for the governor."""
        self._given("GRANT pg_monitor TO {}", "REVOKE pg_monitor FROM {}")

    def may_restore(self) -> None:
        """Give the worker what ``doctor`` notes for restoring into a new database."""
        name = sql.Identifier(str(conninfo_to_dict(self.url)["dbname"]))
        owned = sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(OWNER))
        run_on(self.server, owned)
        self._given("ALTER ROLE {} CREATEDB", "ALTER ROLE {} NOCREATEDB")

    def _given(self, grant: LiteralString, taken: LiteralString) -> None:
        worker = sql.Identifier(WORKER)
        run_on(self.server, sql.SQL(grant).format(worker))
        self.stack.callback(run_on, self.server, sql.SQL(taken).format(worker))

    def _environment(self) -> dict[str, str]:
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(self.place)}
        return own | self.env


_NOT_REHEARSED = "[old_release]\nrehearse = false"
Cause = Callable[[Scene], Ended]


def wrong_option(scene: Scene) -> Ended:
    return scene.run("migrate", "--nonsense")


def unreadable_configuration(scene: Scene) -> Ended:
    (scene.place / "opssight.toml").write_text("[broken")
    return scene.run("status")


def unknown_environment(scene: Scene) -> Ended:
    scene.configure()
    return scene.run("status", "-e", "nowhere")


def another_environments_database(scene: Scene) -> Ended:
    url = scene.populated(at=AUDIT)
    assert scene.run(*MIGRATE).code == 0
    scene.configure(url, name="other")
    return scene.run(*MIGRATE)


def nobody_listens(scene: Scene) -> Ended:
    scene.configure()
    return scene.run("status")


def no_place_for_the_embedded_server(scene: Scene) -> Ended:
    scene.env["OPSSIGHT_DATA_DIR"] = "/dev/null/here"
    return scene.run("status")


def a_view_over_what_goes(scene: Scene) -> Ended:
    view = "CREATE VIEW theirs AS SELECT organization_id FROM users"
    scene.connected(scene.populated(at=AUDIT)).execute(view)
    return scene.run("rollback", "--to-revision", START, "--yes")


def a_table_is_missing(scene: Scene) -> Ended:
    scene.connected(scene.populated()).execute("DROP TABLE alerts CASCADE")
    return scene.run(*MIGRATE)


def a_role_without_rights(scene: Scene) -> Ended:
    url = scene.populated()
    name = sql.Identifier(f"role_{uuid4().hex[:8]}")
    run_on(scene.server, sql.SQL("CREATE ROLE {} LOGIN").format(name))
    scene.stack.callback(run_on, scene.server, sql.SQL("DROP ROLE {}").format(name))
    scene.configure(make_conninfo(url, user=name.as_string().strip('"')))
    return scene.run(*MIGRATE)


def a_standby(scene: Scene) -> Ended:
    scene.configure(scene.stack.enter_context(standing_by(scene.server)))
    return scene.run(*MIGRATE)


def a_pooler_in_transaction_mode(scene: Scene) -> Ended:
    with pooled(scene.database_at(START, filled=False)) as url:
        scene.configure(url)
        return scene.run("status")


def a_server_of_last_decade(scene: Scene) -> Ended:
    with pooled(scene.database_at(START, filled=False), claims_version="12.22") as url:
        scene.configure(url)
        return scene.run("status")


def a_published_table(scene: Scene) -> Ended:
    scene.connected(scene.populated()).execute("CREATE PUBLICATION p FOR TABLE users")
    return scene.run(*MIGRATE)


def a_statement_that_becomes_ambiguous(scene: Scene) -> Ended:
    scene.populated("[old_release]", 'statements = "ours.sql"')
    statement = "SELECT organization_id FROM users, (SELECT 1 AS organization_id) AS one"
    (scene.place / "ours.sql").write_text(statement)
    # The embedded server of this user is the one that the tests run already.
    data = Path(scene.stack.enter_context(TemporaryDirectory(dir="/tmp")))
    data.chmod(0o755)
    (data / f"postgresql-{scene.server.major}").symlink_to(scene.server.home)
    scene.env["OPSSIGHT_DATA_DIR"] = str(data)
    return scene.run(*MIGRATE)


def a_plan_of_yesterday(scene: Scene) -> Ended:
    connection = scene.connected(scene.populated())
    assert scene.run("migrate", "-n", "--plan-out", "plan.json").code == 0
    connection.execute("CREATE INDEX somebody_s ON users (full_name)")
    return scene.run(*MIGRATE, "--plan", "plan.json")


def somebody_who_is_no_operator(scene: Scene) -> Ended:
    scene.populated('operators = ["db:somebody_else"]')
    return scene.run(*MIGRATE)


def another_run(scene: Scene) -> Ended:
    other = Session(psycopg.connect(scene.populated(), autocommit=True))
    scene.stack.callback(other.close)
    exclusive.take(other)
    return scene.run(*MIGRATE)


def a_lock_that_is_held(scene: Scene) -> Ended:
    other = scene.connected(scene.populated('lock_budget = "1s"'))
    other.execute("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE")
    return scene.run(*MIGRATE)


def a_long_transaction(scene: Scene) -> Ended:
    governor = '[governor]\noldest_transaction = "10ms"\nbudget = "1s"'
    other = scene.connected(scene.populated(governor, at=AUDIT))
    scene.may_see_others()
    other.execute("BEGIN; UPDATE alerts SET updated_at = updated_at")
    return scene.run(*MIGRATE)


def at_each_table(scene: Scene, statement: str) -> Ended:
    """Migrate while the server does ``statement`` at each CREATE TABLE."""
    scene.connected(scene.populated()).execute(_AT_A_TABLE.format(statement).encode())
    return scene.run(*MIGRATE)


def the_server_refuses_a_statement(scene: Scene) -> Ended:
    return at_each_table(scene, "RAISE EXCEPTION 'no table' USING ERRCODE = '55000';")


def the_server_s_disk_is_full(scene: Scene) -> Ended:
    return at_each_table(scene, "RAISE EXCEPTION 'no room' USING ERRCODE = '53100';")


def an_administrator_ends_the_backend(scene: Scene) -> Ended:
    return at_each_table(scene, "PERFORM pg_terminate_backend(pg_backend_pid());")


def a_newer_run(scene: Scene) -> Ended:
    return at_each_table(scene, "UPDATE opssight_migrate.installation SET epoch = epoch + 1;")


def rows_that_nobody_took_away(scene: Scene) -> Ended:
    return at_each_table(scene, "TRUNCATE notification_logs;")


def rows_that_a_constraint_refuses(scene: Scene) -> Ended:
    connection = scene.connected(scene.populated('on_failure = "stop"', at=AUDIT))
    connection.execute(NO_ROWS.format("user_roles").encode())
    return scene.run(*MIGRATE)


def a_run_that_cannot_succeed(scene: Scene) -> Ended:
    connection = scene.connected(scene.populated(at=AUDIT))
    connection.execute(NO_ROWS.format("user_roles").encode())
    return scene.run(*MIGRATE)


def a_run_that_cannot_be_undone(scene: Scene) -> Ended:
    connection = scene.connected(scene.populated(at=AUDIT))
    connection.execute(NO_ROWS.format("audit_configurations").encode())
    return scene.run(*MIGRATE)


def a_deadline(scene: Scene) -> Ended:
    scene.populated()
    return scene.run(*MIGRATE, "--deadline", "1ms")


def nobody_to_ask(scene: Scene) -> Ended:
    scene.populated()
    return scene.run("migrate")


def stopped_by(scene: Scene, number: signal.Signals) -> Ended:
    """Send a signal while it waits for a lock."""
    other = scene.connected(scene.populated())
    other.execute("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE")
    return scene.signalled(number, *MIGRATE, at="waiting ")


def ctrl_c(scene: Scene) -> Ended:
    return stopped_by(scene, signal.SIGINT)


def sigterm(scene: Scene) -> Ended:
    return stopped_by(scene, signal.SIGTERM)


def a_broken_installation(scene: Scene) -> Ended:
    scene.configure()
    (scene.place / "humanize.py").write_text("raise RuntimeError('half an upgrade')")
    return scene.run("status")
