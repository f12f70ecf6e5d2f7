"""What keeps a database from being swapped is named; its tablespace is the restored one's too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.conftest import everything
from tests.commands.test_rollback_data import backed_up, restored
from tests.conftest import SettingsFor
from tests.homes import new_home
from tests.least import WORKER, as_worker

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import chain, properties, swap
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_SERVER = (
    "CREATE TABLESPACE roomy LOCATION {place}",
    "CREATE ROLE {worker} LOGIN CREATEDB",
    "GRANT CREATE ON TABLESPACE roomy TO {worker}",
    "CREATE DATABASE live OWNER {worker} TABLESPACE roomy",
)


@pytest.fixture
def conninfo(server: Cluster) -> Iterator[str]:
    """An empty OpsSight in a tablespace, on a server that has prepared transactions and slots."""
    home = new_home("obstacles")
    settings = {"max_prepared_transactions": "2"}
    try:
        with Cluster(home, server.bin_dir, durable=False, settings=settings) as cluster:
            place = home / "roomy"
            place.mkdir()
            os.chown(place, home.stat().st_uid, home.stat().st_gid)
            with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as connection:
                for one in _SERVER:
                    names = {"place": sql.Literal(str(place)), "worker": sql.Identifier(WORKER)}
                    connection.execute(sql.SQL(one).format(**names))
            conninfo = as_worker(cluster.conninfo("live"))
            with psycopg.connect(conninfo, autocommit=True) as connection:
                session = Session(connection)
                session.prepare()
                chain.upgrade(chain.Drive(session=session), START)
            yield conninfo
    finally:
        shutil.rmtree(home)


@pytest.fixture
def settings(conninfo: str, settings_for: SettingsFor, tmp_path: Path) -> Settings:
    """Settings of that database, with sealed backups."""
    key = new_key()
    (tmp_path / "identity.txt").write_text(key.text)
    keys = {
        "url": conninfo,
        "backup_dir": str(tmp_path / "shelf"),
        "backup_recipients": [key.public],
        "backup_identity_command": f"cat {tmp_path / 'identity.txt'}",
    }
    return settings_for("", environments={"test": keys})


def test_what_is_in_the_way_is_named_and_the_tablespace_is_kept(
    settings: Settings, conninfo: str, opened: Callable[[str], Session]
) -> None:
    grant = 'GRANT CREATE ON TABLESPACE "roomy" TO "plain"'
    session = opened(conninfo)
    session.execute("CREATE ROLE plain")
    for is_granted in (False, True):
        session.execute("SET ROLE plain")
        assert (grant in [one.grant for one in swap.lacking(session)]) is not is_granted
        session.execute("RESET ROLE")
        session.execute(grant)
    session.close()
    path = backed_up(settings)
    session = opened(conninfo)
    session.execute(
        "INSERT INTO users (github_id, github_username, email, is_active, is_superuser)"
        " VALUES ('late', 'late', 'late@test', true, false)"
    )
    # The slot first: it waits for the end of every transaction, a prepared one's too.
    session.scalar("SELECT pg_create_logical_replication_slot('reader', 'pgoutput')")
    before = everything(session)
    session.execute("BEGIN")
    session.execute("SELECT pg_advisory_xact_lock_shared(1)")
    session.execute("PREPARE TRANSACTION 'in doubt'")
    session.close()

    refused = restored(settings, path)

    said = "\n".join(one.message for one in refused.diagnostics)
    assert refused.exit_code == 7
    assert "prepared transaction in doubt has neither been committed nor rolled back" in said
    assert "logical slot reader reads this very database, and would not follow the name" in said
    session = opened(conninfo)
    assert everything(session) == before
    session.execute("ROLLBACK PREPARED 'in doubt'")
    session.scalar("SELECT pg_drop_replication_slot('reader')")
    session.close()

    report = restored(settings, path)

    assert report.exit_code == 0, report.diagnostics
    session = opened(conninfo)
    assert session.scalar("SELECT count(*) FROM users") == 0
    assert properties.read_properties(session).tablespace == "roomy"
