"""Plain Alembic, for people who use nothing else: the same chain, from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.chain.looks import (
    BEFORE,
    catalogue_text,
    golden_text,
    shims_up_to,
    versions,
    without_shims,
)
from tests.conftest import DatabaseAt, NewDatabase

from opssight_migrate.opssight.revisions import HEAD, RBAC, START, TARGET
from opssight_migrate.postgres import catalog, chain, exclusive
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_CHECKOUT = Path(__file__).resolve().parents[2]
_HELD_BY_ANOTHER = "another run holds this database"


def _alembic(*arguments: str, database_url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Alembic as people do, in the checkout; every warning is an error."""
    paths = [str(_CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **({} if database_url is None else {"DATABASE_URL": database_url}),
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "alembic", *arguments],
        cwd=_CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _url(conninfo: str, scheme: str = "postgresql") -> str:
    """Spell a connection string as a URL."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    host = quote(parts["host"], safe="")
    return f"{scheme}://{parts['user']}@/{parts['dbname']}?host={host}&port={parts['port']}"


def test_alembic_upgrades_an_empty_database_named_on_the_command_line(
    new_database: NewDatabase, opened: Callable[[str], Session]
) -> None:
    conninfo = new_database()

    ran = _alembic("-x", f"url={_url(conninfo)}", "upgrade", "head")

    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    assert catalogue_text(opened(conninfo)) == golden_text(HEAD)


def test_alembic_upgrades_a_populated_database_and_leaves_the_same_shims(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    before = versions(session)

    # The URL of the application itself, driver and all.
    ran = _alembic("upgrade", "head", database_url=_url(conninfo, "postgresql+asyncpg"))

    assert ran.returncode == 0, ran.stderr
    assert without_shims(session) == (golden_text(HEAD), shims_up_to(HEAD))
    after = versions(session)
    assert {table: after[table] for table in before if table != "alembic_version"} == {
        table: rows for table, rows in before.items() if table != "alembic_version"
    }
    assert session.scalar("SELECT to_regnamespace('opssight_migrate')") is None


def test_alembic_takes_one_revision_back_on_an_empty_database(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(TARGET, filled=False)

    ran = _alembic("downgrade", "-1", database_url=_url(conninfo))

    assert ran.returncode == 0, ran.stderr
    assert catalogue_text(opened(conninfo)) == golden_text(BEFORE[TARGET])


def test_alembic_is_refused_the_downgrade_that_would_take_rows(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at("85f9e3f15142")

    ran = _alembic("downgrade", "-1", database_url=_url(conninfo))

    assert ran.returncode != 0
    assert "the downgrade would take rows with it (organizations: 1)" in ran.stdout
    assert "Traceback" not in ran.stderr
    assert catalog.current_revision(opened(conninfo)) == "85f9e3f15142"


@pytest.mark.parametrize("direction", [("upgrade", "head"), ("downgrade", f"{TARGET}:{START}")])
def test_offline_sql_is_refused_in_one_sentence(direction: tuple[str, str]) -> None:
    ran = _alembic(*direction, "--sql", database_url="postgresql://nobody@nowhere.invalid/none")

    assert ran.returncode != 0
    assert "--sql cannot work here" in ran.stdout
    assert "Traceback" not in ran.stderr
    assert "CREATE" not in ran.stdout + ran.stderr


def test_alembic_is_refused_while_a_run_of_ours_holds_the_database(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    exclusive.take(session)

    ran = _alembic("upgrade", RBAC, database_url=_url(conninfo))

    assert ran.returncode != 0
    assert f"{_HELD_BY_ANOTHER}: backend pid {session.pid}" in ran.stdout
    assert "Traceback" not in ran.stderr
    assert catalogue_text(session) == golden_text(START)
    assert catalog.current_revision(session) == START


def test_the_engine_lends_its_connection_and_gets_it_back_as_it_was(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(START, filled=False))
    exclusive.take(session)
    pid = session.pid

    chain.upgrade(chain.Drive(session=session), HEAD)

    assert (session.pid, session.connection.autocommit) == (pid, True)
    assert session.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert exclusive.is_held(session)
    assert session.scalar("SHOW lock_timeout") == "0"
