"""A disposable TimescaleDB server that somebody named, and a database of ours on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.timescale import rows

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.opssight.revisions import AUDIT
from opssight_migrate.postgres import chain, timescale
from opssight_migrate.postgres.session import Session

URL = "OPSSIGHT_TEST_TIMESCALE_URL"
ROWS = int(os.environ.get("OPSSIGHT_TEST_TIMESCALE_ROWS", "2000000"))
_LEAST_ROWS = 100_000
_IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
# Up to now, so that chunks of a week are old, whenever this runs.
_SPREAD = timedelta(days=23)


def why_unusable(url: str) -> str | None:
    """Say what a server lacks for these tests, in words; None where it lacks nothing."""
    if ROWS < _LEAST_ROWS:
        return f"OPSSIGHT_TEST_TIMESCALE_ROWS is below {_LEAST_ROWS:,}: such a table is copied"
    try:
        with _made(url) as conninfo, connected(conninfo) as session:
            if not session.scalar(_IS_SUPERUSER):
                return "its user is no superuser"
            if reason := timescale.offered(session).reason:
                return reason
            timescale.create_extension(session)
            offer = timescale.offered(session)
    except (psycopg.Error, MigrateError) as error:
        return f"the server cannot be used: {error}"
    if offer.licence != timescale.COMMUNITY:
        return f"{offer.named}: these tests need timescaledb.license = timescale"
    if not offer.attaches:
        return f"{offer.named} cannot adopt a table"
    return None


@contextmanager
def database(url: str) -> Iterator[str]:
    """Make an OpsSight without a row on the server of a superuser's URL; give its conninfo."""
    with _made(url) as conninfo:
        with connected(conninfo) as session:
            chain.upgrade(chain.Drive(session=session), AUDIT)
        yield conninfo


@contextmanager
def _made(url: str) -> Iterator[str]:
    name = f"opssight_{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_conninfo(url, dbname=name)
        finally:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            server.execute(drop)


@contextmanager
def connected(conninfo: str) -> Iterator[Session]:
    """Open a prepared session."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        yield session


def filled(conninfo: str, many: int = ROWS) -> None:
    """Fill both series as three busy weeks would, and let the server come to rest."""
    with connected(conninfo) as session:
        rows.fill(session, many, begin=datetime.now(UTC) - _SPREAD, every=_SPREAD / many)
        for name in rows.SERIES:
            # Else autovacuum would, in the middle of what is measured.
            session.execute(sql.SQL("VACUUM (FREEZE, ANALYZE) {}").format(sql.Identifier(name)))
        session.execute("CHECKPOINT")


def alone(session: Session) -> None:
    """Stop the background workers of the session's database: only who asks works on it."""
    stop = timescale.internal(session, "stop_background_workers")
    session.scalar(sql.SQL("SELECT {}()").format(stop))
