"""``rollback --type data`` by a role that may make no database: all rows in one transaction."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.conftest import Everything, error_of, everything, run
from tests.commands.test_restore_equality import MORE, OF_DATABASE, OWNED, looks
from tests.commands.test_rollback_data import backed_up, conninfo_of, restored
from tests.conftest import DatabaseAt, SettingsFor, run_on
from tests.least import as_superuser

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.revisions import START, TARGET
from opssight_migrate.postgres import clients, embedded, refill, timescale_restore
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.embedded import wheel_bin_dir
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = [
    pytest.mark.usefixtures("embedded_server"),
    pytest.mark.needs_superuser("it makes a role of its own"),
]

KEY = new_key()
_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"
_SEQUENCES = """
SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1
"""


@pytest.fixture(scope="module")
def embedded_server() -> Iterator[None]:
    """Servers of the product's own, in a folder of these tests."""
    home = Path(tempfile.mkdtemp(prefix="opssight-test-", dir="/tmp"))
    home.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        usual = Cluster(home / "usual", wheel_bin_dir(), durable=False)
        patch.setattr(embedded, "default_cluster", lambda: usual)
        yield
    shutil.rmtree(home)


@pytest.fixture
def settings(
    database_at: DatabaseAt, settings_for: SettingsFor, tmp_path: Path, server: Cluster
) -> Iterator[Settings]:
    """Settings of a role that owns OpsSight's tables and the database, without CREATEDB."""
    conninfo = database_at(START)
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    role = f"app_{uuid4().hex[:8]}"
    quoted = sql.Identifier(role)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(quoted))
        connection.execute("SELECT set_config('test.owner', %s, false)", (role,))
        connection.execute(OWNED)
        connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(quoted))
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(str(name)), quoted)
        )
    (tmp_path / "identity.txt").write_text(KEY.text)
    keys = {
        "url": psycopg.conninfo.make_conninfo(conninfo, user=role),
        "backup_dir": str(tmp_path / "shelf"),
        "backup_recipients": [KEY.public],
        "backup_identity_command": f"cat {tmp_path / 'identity.txt'}",
    }
    yield settings_for("", environments={"test": keys})
    with psycopg.connect(server.conninfo(str(name)), autocommit=True) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(quoted))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
        connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


@pytest.fixture
def own_session(settings: Settings) -> Iterator[Session]:
    """A session of that role itself: what it makes is its own."""
    with psycopg.connect(conninfo_of(settings), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        yield session


def dumped(conninfo: str, path: Path) -> Path:
    """Dump a database as somebody would by hand, as plain SQL."""
    with psycopg.connect(conninfo) as connection:
        tools = clients.for_dump(connection.info.server_version // 10_000)
    subprocess.run([tools.program("pg_dump"), "-f", str(path), conninfo], check=True)
    return path


def rows_of(one: Everything, like: Everything) -> dict[str, tuple[int, str]]:
    """Return the digests of the tables that ``like`` has."""
    return {table: one.rows[table] for table in like.rows}


def test_rows_go_back_where_they_stand_and_the_rest_is_archived_or_in_the_backup(
    settings: Settings, opened: Callable[[str], Session]
) -> None:
    session = opened(conninfo_of(settings))
    before, sequences = everything(session), session.rows(_SEQUENCES)
    databases = session.rows(_DATABASES)
    path = backed_up(settings)
    assert run(settings).exit_code == 0
    session.execute("DELETE FROM team_memberships")
    session.execute(
        "INSERT INTO users (github_id, github_username, email, is_active, is_superuser)"
        " VALUES ('late', 'late', 'late@test', true, false)"
    )
    asked: list[Plan] = []

    asking = settings.model_copy(
        update={"old_release": settings.old_release.model_copy(update={"rehearse": True})}
    )

    report = restored(asking, path, lambda plan, _: asked.append(plan))

    assert report.exit_code == 0, report.diagnostics
    [plan] = asked
    assert any("Everybody waits then" in one for one in plan.announcements)
    assert {(one.kind.value, one.what.split(",")[0]) for one in plan.losses} >= {
        ("written since", "users"),
        ("archived", "user_roles"),
    }
    assert [step.status for step in report.steps] == ["done"] * 5
    after = everything(session)
    assert after.catalogue == before.catalogue
    assert rows_of(after, before) == before.rows
    assert session.rows(_SEQUENCES) == sequences
    assert {one.id: one.status for one in report.checks} == {
        "digests": "passed",
        "revision": "passed",
        "catalogue": "passed",
        "old-release": "passed",
    }
    [backup] = [one for one in report.artifacts if one.kind == "backup"]
    assert backup.verified
    assert session.rows(_DATABASES) == databases
    commands = "SELECT command, status FROM opssight_migrate.runs ORDER BY epoch"
    assert session.rows(commands)[-2:] == [("rollback", "ok"), ("rollback-data", "ok")]
    # Archives come home: nothing of them was lost.
    assert run(settings).exit_code == 0
    assert session.scalar("SELECT version_num FROM alembic_version") == TARGET


def test_whatever_stops_it_leaves_every_row_and_the_same_command_goes_on(
    settings: Settings,
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = opened(conninfo_of(settings))
    session.execute("SELECT nextval('users_id_seq') FROM generate_series(1, 5)")
    path = backed_up(settings)
    session.execute("DELETE FROM team_memberships")
    before, sequences = everything(session), session.rows(_SEQUENCES)
    real = refill.refill

    def fail(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise StepFailedError("no")

    with monkeypatch.context() as patch:
        patch.setattr(refill, "refill", fail)
        failed = restored(settings, path)
    assert failed.exit_code == 9
    stopped = everything(session)
    assert rows_of(stopped, before) == before.rows
    assert stopped.catalogue == before.catalogue
    assert session.rows(_SEQUENCES) == sequences
    with monkeypatch.context() as patch:

        def write_first(*arguments: object) -> None:
            session.execute("UPDATE teams SET name = name")
            lock(*arguments)  # type: ignore[arg-type]

        lock = refill.lock
        patch.setattr(refill, "lock", write_first)
        refused = restored(settings, path)
    assert refused.exit_code == 9
    assert "somebody wrote after the plan was made" in error_of(refused)[1]

    again = restored(settings, path)

    assert again.exit_code == 0, again.diagnostics
    assert session.scalar("SELECT count(*) FROM team_memberships") > 0


def test_what_is_written_while_the_question_stands_open_stops_it(
    settings: Settings, opened: Callable[[str], Session], tmp_path: Path
) -> None:
    session = opened(conninfo_of(settings))
    path = backed_up(settings)
    shelf = sorted((tmp_path / "shelf").iterdir())

    def write(plan: Plan, _: object) -> None:
        assert not [one for one in plan.losses if one.what.startswith("teams")]
        session.execute("UPDATE teams SET name = 'of now' WHERE id = (SELECT min(id) FROM teams)")

    refused = restored(settings, path, write)

    assert refused.exit_code == 7
    code, message = error_of(refused)
    assert code == "OM325"
    assert message.endswith("teams: 1 rows written, 1 changed or deleted")
    assert session.scalar("SELECT name FROM teams ORDER BY id LIMIT 1") == "of now"
    assert sorted((tmp_path / "shelf").iterdir()) == shelf


def test_without_a_backup_of_now_it_is_refused(settings: Settings) -> None:
    path = backed_up(settings)
    profile = settings.environments["test"].model_copy(
        update={"backup_recipients": (), "backup": "never"}
    )
    without = settings.model_copy(update={"environments": {"test": profile}})

    report = restored(without, path)

    assert report.exit_code == 7
    assert "the rows of now would be kept nowhere" in error_of(report)[1]


def test_what_our_own_server_lacks_is_said_before_anything_is_restored(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backed_up(settings)
    monkeypatch.setattr(timescale_restore, "version_in", lambda _: "2.21.0")

    report = restored(settings, path, dry_run=True)

    assert report.exit_code == 7
    assert "this database has TimescaleDB 2.21.0" in error_of(report)[1]


def test_a_table_of_somebody_elses_is_named_before_the_question(
    settings: Settings, opened: Callable[[str], Session], own_session: Session
) -> None:
    session = opened(as_superuser(conninfo_of(settings)))
    session.execute("CREATE TABLE public.theirs (id int)")
    role = sql.Identifier(own_session.scalar("SELECT current_user::text"))
    session.execute(sql.SQL("GRANT SELECT ON theirs TO {}").format(role))
    path = backed_up(settings)

    report = restored(settings, path, dry_run=True)

    assert report.exit_code == 7
    owner = session.scalar("SELECT current_user::text")
    said = f"table theirs belongs to {owner}: this role may not replace its rows"
    assert said in error_of(report)[1]


def test_plain_sql_starts_no_program_on_our_own_server(settings: Settings, tmp_path: Path) -> None:
    script, made = dumped(conninfo_of(settings), tmp_path / "by_hand.sql"), tmp_path / "made"
    first = "SET statement_timeout = 0;"
    program = f"COPY (SELECT 1) TO PROGRAM 'touch {made}';"
    script.write_text(script.read_text().replace(first, f"{first}\n{program}", 1))

    report = restored(settings, script)
    # As a run leaves it that is killed while it makes an extension there.
    with embedded.restoring_cluster() as cluster:
        run_on(cluster, sql.SQL("ALTER ROLE opssight_plain_sql SUPERUSER").format())
    later = restored(settings, script)

    for one in (report, later):
        assert one.exit_code == 10
        assert "permission denied to COPY to or from an external program" in error_of(one)[1]
    assert not made.exists()


_CHANGED_SINCE: tuple[LiteralString, ...] = (
    "DELETE FROM team_memberships",
    "SELECT setval('users_id_seq', 999999)",
    "COMMENT ON TABLE users IS 'something else'",
    "COMMENT ON COLUMN users.email IS NULL",
    "COMMENT ON CONSTRAINT users_pkey ON users IS 'new'",
    "COMMENT ON INDEX users_trgm IS 'new'",
    "COMMENT ON SCHEMA public IS 'ours'",
    "REVOKE ALL ON users FROM PUBLIC",
    "REVOKE UPDATE (bio) ON users FROM PUBLIC",
    "GRANT ALL ON teams, users_id_seq TO PUBLIC",
    "GRANT DELETE ON reports.people TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO PUBLIC",
    "SELECT lo_put(424242, 1, '\\xaa')",
    "REVOKE ALL ON LARGE OBJECT 424242 FROM PUBLIC",
    "SELECT lo_from_bytea(424243, '\\xff')",
    "SELECT lo_unlink(424241)",
)


@pytest.mark.parametrize("kind", ["sealed", "plain SQL"])
def test_owners_grants_comments_and_large_objects_are_as_they_were(
    settings: Settings,
    own_session: Session,
    tmp_path: Path,
    kind: str,
) -> None:
    conninfo, session = conninfo_of(settings), own_session
    for statement in (*MORE, "SELECT lo_from_bytea(424241, decode(repeat('ab', 3000000), 'hex'))"):
        session.execute(statement)
    name = sql.Identifier(session.connection.info.dbname)
    for statement in OF_DATABASE:
        session.execute(sql.SQL(statement).format(name))
    before = looks(session)
    path = backed_up(settings) if kind == "sealed" else dumped(conninfo, tmp_path / "by_hand.sql")
    if kind == "sealed":
        assert run(settings).exit_code == 0
    for statement in _CHANGED_SINCE:
        session.execute(statement)
    session.execute("CREATE INDEX late ON teams (name, slug)")
    asked: list[Plan] = []

    report = restored(settings, path, lambda plan, _: asked.append(plan))

    assert report.exit_code == 0, report.diagnostics
    assert [one.message for one in report.diagnostics if one.severity == "warning"] == []
    said = "\n".join(asked[0].announcements)
    assert "left as it is, and not in the backup: index teams.late" in said
    assert "3 large objects are made as in the backup" in said
    assert "5 comments are made as in the backup: COMMENT ON" in said
    session.execute("DROP INDEX late")
    for ours, theirs in zip(looks(session), before, strict=True):
        assert ours == theirs
