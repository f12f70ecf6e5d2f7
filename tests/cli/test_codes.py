"""Every error code, reached from a real process by a real cause; or where else it is reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt, run_on

from opssight_migrate.model.explanations import published
from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import exclusive
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

TESTS = Path(__file__).parents[1]
NOWHERE = "postgresql://a@127.0.0.1:1/none"
# What the server says to every CREATE TABLE, as a full disk, or a limit of a provider, would.
_NO_TABLE = """
CREATE FUNCTION no_table() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'public') THEN
        RAISE EXCEPTION 'no table today' USING ERRCODE = '{}';
    END IF;
END $$;
CREATE EVENT TRIGGER no_table ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION no_table();
"""
_NO_ASSIGNMENT = """
CREATE FUNCTION no_assignment() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
CREATE TRIGGER no_assignment BEFORE INSERT ON user_roles
    FOR EACH ROW EXECUTE FUNCTION no_assignment();
"""


@dataclass(slots=True)
class Scene:
    """Where a cause is set: a directory, a server, what goes with the end of the test."""

    place: Path
    server: Cluster
    database_at: DatabaseAt
    stack: ExitStack
    env: dict[str, str] = field(default_factory=dict[str, str])

    def configure(self, url: str = NOWHERE, *lines: str, name: str = "test") -> str:
        """Write a configuration whose default environment is ``url``; return that."""
        (self.place / "opssight.toml").write_text(
            f'[project]\ndefault_environment = "{name}"\n[old_release]\nrehearse = false\n'
            f'[environments.{name}]\nurl = "{url}"\n' + "\n".join(lines)
        )
        return url

    def populated(self, *lines: str, at: str = START) -> str:
        """Configure a database in use."""
        return self.configure(self.database_at(at), *lines)

    def connected(self, url: str) -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection for the length of the test."""
        return self.stack.enter_context(psycopg.connect(url, autocommit=True))


@pytest.fixture
def scene(tmp_path: Path, server: Cluster, database_at: DatabaseAt) -> Iterator[Scene]:
    """A place without a configuration above it."""
    (tmp_path / ".git").mkdir()
    with ExitStack() as stack:
        yield Scene(place=tmp_path, server=server, database_at=database_at, stack=stack)


MIGRATE = ["migrate", "--yes"]


def wrong_option(scene: Scene) -> list[str]:
    return ["migrate", "--nonsense"]


def unreadable_configuration(scene: Scene) -> list[str]:
    (scene.place / "opssight.toml").write_text("[broken")
    return ["status"]


def unknown_environment(scene: Scene) -> list[str]:
    scene.configure()
    return ["status", "-e", "nowhere"]


def another_environments_database(scene: Scene) -> list[str]:
    url = scene.populated(at=AUDIT)
    assert run(*MIGRATE, cwd=scene.place).returncode == 0
    scene.configure(url, name="other")
    return ["migrate", "--yes"]


def nobody_listens(scene: Scene) -> list[str]:
    scene.configure()
    return ["status"]


def no_place_for_the_embedded_server(scene: Scene) -> list[str]:
    scene.env["OPSSIGHT_DATA_DIR"] = "/dev/null/here"
    return ["status"]


def a_table_is_missing(scene: Scene) -> list[str]:
    scene.connected(scene.populated()).execute("DROP TABLE alerts CASCADE")
    return MIGRATE


def a_role_without_rights(scene: Scene) -> list[str]:
    url = scene.populated()
    name = sql.Identifier(f"role_{uuid4().hex[:8]}")
    run_on(scene.server, sql.SQL("CREATE ROLE {} LOGIN").format(name))
    scene.stack.callback(run_on, scene.server, sql.SQL("DROP ROLE {}").format(name))
    facts = conninfo_to_dict(url)
    where = f"host={facts['host']}&port={facts['port']}&user={name.as_string().strip(chr(34))}"
    scene.configure(f"postgresql:///{facts['dbname']}?{where}")
    return MIGRATE


def a_published_table(scene: Scene) -> list[str]:
    scene.connected(scene.populated()).execute("CREATE PUBLICATION p FOR TABLE users")
    return MIGRATE


def a_required_backup_without_a_key(scene: Scene) -> list[str]:
    scene.populated('backup = "required"')
    return ["backup", "create"]


def another_run(scene: Scene) -> list[str]:
    other = Session(psycopg.connect(scene.populated(), autocommit=True))
    scene.stack.callback(other.close)
    exclusive.take(other)
    return MIGRATE


def a_lock_that_is_held(scene: Scene) -> list[str]:
    other = scene.connected(scene.populated('lock_budget = "1s"'))
    other.execute("BEGIN; LOCK TABLE users IN ACCESS SHARE MODE")
    return MIGRATE


def a_long_transaction(scene: Scene) -> list[str]:
    governor = '[governor]\noldest_transaction = "10ms"\nbudget = "1s"'
    other = scene.connected(scene.populated(governor, at=AUDIT))
    other.execute("BEGIN; UPDATE alerts SET updated_at = updated_at")
    return MIGRATE


def the_server_refuses_a_statement(scene: Scene) -> list[str]:
    scene.connected(scene.populated()).execute(_NO_TABLE.format("55000").encode())
    return MIGRATE


def the_server_s_disk_is_full(scene: Scene) -> list[str]:
    scene.connected(scene.populated()).execute(_NO_TABLE.format("53100").encode())
    return MIGRATE


def rows_that_a_constraint_refuses(scene: Scene) -> list[str]:
    scene.connected(scene.populated('on_failure = "stop"', at=AUDIT)).execute(_NO_ASSIGNMENT)
    return MIGRATE


def a_run_that_cannot_succeed(scene: Scene) -> list[str]:
    scene.connected(scene.populated(at=AUDIT)).execute(_NO_ASSIGNMENT)
    return MIGRATE


def a_deadline(scene: Scene) -> list[str]:
    scene.populated()
    return [*MIGRATE, "--deadline", "1ms"]


def nobody_to_ask(scene: Scene) -> list[str]:
    scene.populated()
    return ["migrate"]


def a_broken_installation(scene: Scene) -> list[str]:
    scene.configure()
    (scene.place / "humanize.py").write_text("raise RuntimeError('half an upgrade')")
    return ["status"]


def no_such_backup(scene: Scene) -> list[str]:
    scene.configure()
    return ["backup", "verify", "nowhere.dump"]


def shelved(scene: Scene, *lines: str) -> Path:
    scene.populated(f'backup_dir = "{scene.place}/shelf"', *lines)
    assert run("backup", "create", cwd=scene.place).returncode == 0
    (dump,) = (scene.place / "shelf").glob("*.dump*")
    return dump


def a_damaged_backup(scene: Scene) -> list[str]:
    dump = shelved(scene, "backup_plain = true")
    dump.write_bytes(dump.read_bytes()[:-1])
    return ["backup", "verify", str(dump)]


def another_key(scene: Scene) -> list[str]:
    import pyrage  # type: ignore[import-untyped]

    ours, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    dump = shelved(scene, f'backup_recipients = ["{ours.to_public()}"]')
    (scene.place / "key").write_text(str(other))
    return ["backup", "verify", str(dump), "--identity", "key"]


def a_manifest_that_is_none(scene: Scene) -> list[str]:
    dump = shelved(scene, "backup_plain = true")
    (manifest,) = dump.parent.glob("*.manifest.json")
    manifest.write_text("{}")
    return ["backup", "verify", str(dump)]


def another_environments_backup(scene: Scene) -> list[str]:
    dump = shelved(scene, "backup_plain = true")
    scene.configure(name="other")
    return ["backup", "verify", str(dump)]


CAUSES: dict[str, Callable[[Scene], list[str]]] = {
    "OM101": wrong_option,
    "OM102": unreadable_configuration,
    "OM103": unknown_environment,
    "OM104": another_environments_database,
    "OM201": nobody_listens,
    "OM202": no_place_for_the_embedded_server,
    "OM302": a_table_is_missing,
    "OM303": a_role_without_rights,
    "OM308": a_published_table,
    "OM322": another_environments_backup,
    "OM323": a_required_backup_without_a_key,
    "OM401": another_run,
    "OM402": a_lock_that_is_held,
    "OM403": a_long_transaction,
    "OM502": the_server_refuses_a_statement,
    "OM505": rows_that_a_constraint_refuses,
    "OM506": the_server_s_disk_is_full,
    "OM508": a_run_that_cannot_succeed,
    "OM509": a_deadline,
    "OM601": nobody_to_ask,
    "OM700": a_broken_installation,
    "OM801": no_such_backup,
    "OM802": a_damaged_backup,
    "OM803": another_key,
    "OM804": a_manifest_that_is_none,
}
# Reached elsewhere, most of them inside of the test's own process, since the cause is made there:
# a standby, a pooler, a row that changes between two statements. None means: by no test.
ELSEWHERE: dict[str, tuple[str, str] | None] = {
    "OM301": ("cli/test_verbs.py", "OM301"),
    "OM304": ("commands/test_standby.py", "OM304"),
    "OM305": ("postgres/test_connect.py", "PoolerError"),
    "OM306": ("chain/test_downgrade.py", "RowsWouldBeLostError"),
    "OM307": ("postgres/test_connect.py", "ServerTooOldError"),
    "OM309": ("commands/test_old_release.py", "OM309"),
    "OM313": ("cli/test_deploys.py", "OM313"),
    "OM314": ("cli/test_deploys.py", "OM314"),
    "OM321": ("backups/test_creation.py", "ClientToolError"),
    "OM325": ("commands/test_rollback_ledger.py", "OM325"),
    "OM326": ("commands/test_backup.py", "OM326"),
    "OM503": ("faults/test_lost_connection.py", "OM503"),
    "OM504": ("faults/test_exclusive.py", "OM504"),
    "OM507": ("commands/test_on_failure.py", "OM507"),
    "OM602": ("faults/test_signals.py", "OM602"),
    "OM603": ("faults/test_signals.py", "OM603"),
    "OM805": ("backups/test_creation.py", "NotProvenError"),
    "OM324": None,
    "OM501": None,
}


@pytest.mark.parametrize("code", CAUSES)
def test_a_code_is_reached_by_a_real_cause(scene: Scene, code: str) -> None:
    words = CAUSES[code](scene)
    done = run(*words, cwd=scene.place, **scene.env)

    kind = published()[code]
    assert f"error[{code}]: " in done.stderr, done.stderr
    assert done.returncode == kind.exit_code
    assert re.search(r"^state: \S", done.stderr, re.MULTILINE)
    assert re.search(r"^help:  \S", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr


def test_every_code_is_reached_here_or_where_it_is_said() -> None:
    assert set(CAUSES) | set(ELSEWHERE) == set(published())
    assert not set(CAUSES) & set(ELSEWHERE)
    for place, name in filter(None, ELSEWHERE.values()):
        assert name in (TESTS / place).read_text("utf-8"), place
