"""``rollback --type data`` by a role that may make no database: all rows in one transaction."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.conftest import Everything, error_of, everything, run
from tests.commands.test_rollback_data import backed_up, conninfo_of, restored
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.revisions import START, TARGET
from opssight_migrate.postgres import embedded, refill
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.embedded import wheel_bin_dir
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

KEY = new_key()
_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"
_SEQUENCES = """
SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1
"""
OWNED = """
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT format('ALTER TABLE public.%I OWNER TO ', relname) AS what FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
             UNION ALL
             SELECT format('ALTER TYPE public.%I OWNER TO ', typname) FROM pg_type
              WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
  LOOP EXECUTE one.what || quote_ident(current_setting('test.owner')); END LOOP;
END $$
"""


@pytest.fixture
def embedded_server(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    """A server of the product's own, in a folder of the test."""
    home = Path(tempfile.mkdtemp(prefix="opssight-test-", dir="/tmp"))

    def default_cluster() -> Cluster:
        return Cluster(home, wheel_bin_dir(), durable=False)

    monkeypatch.setattr(embedded, "default_cluster", default_cluster)
    yield default_cluster()
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


def rows_of(one: Everything, like: Everything) -> dict[str, tuple[int, str]]:
    """Return the digests of the tables that ``like`` has."""
    return {table: one.rows[table] for table in like.rows}


def test_rows_go_back_where_they_stand_and_the_rest_is_archived_or_in_the_backup(
    settings: Settings, opened: Callable[[str], Session], embedded_server: Cluster
) -> None:
    del embedded_server
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
    embedded_server: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del embedded_server
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
    assert "somebody wrote after the safety backup began" in error_of(refused)[1]

    again = restored(settings, path)

    assert again.exit_code == 0, again.diagnostics
    assert session.scalar("SELECT count(*) FROM team_memberships") > 0


def test_without_a_backup_of_now_it_is_refused(
    settings: Settings, embedded_server: Cluster
) -> None:
    del embedded_server
    path = backed_up(settings)
    profile = settings.environments["test"].model_copy(
        update={"backup_recipients": (), "backup": "never"}
    )
    without = settings.model_copy(update={"environments": {"test": profile}})

    report = restored(without, path)

    assert report.exit_code == 7
    assert "the rows of now would be kept nowhere" in error_of(report)[1]
