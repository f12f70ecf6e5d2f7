"""A disposable TimescaleDB server that somebody named, and a database of ours on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.timescale import rows

from opssight_migrate.opssight.revisions import AUDIT
from opssight_migrate.postgres import chain
from opssight_migrate.postgres.session import Session

URL = "OPSSIGHT_TEST_TIMESCALE_URL"
ROWS = int(os.environ.get("OPSSIGHT_TEST_TIMESCALE_ROWS", "2000000"))


@contextmanager
def database(url: str) -> Iterator[str]:
    """Make an OpsSight without a row on the server of a superuser's URL; give its conninfo."""
    name = sql.Identifier(f"opssight_{uuid4().hex[:12]}")
    conninfo = make_conninfo(url, dbname=name.as_string().strip('"'))
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            with connected(conninfo) as session:
                chain.upgrade(chain.Drive(session=session), AUDIT)
            yield conninfo
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@contextmanager
def connected(conninfo: str) -> Iterator[Session]:
    """Open a prepared session."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        yield session


def filled(conninfo: str, many: int = ROWS) -> None:
    """Fill both series as a busy year would, and let the server come to rest."""
    with connected(conninfo) as session:
        rows.fill(session, many)
        session.execute("UPDATE metrics SET timestamp = now() - id * interval '1 second' / 3")
        session.execute("UPDATE log_entries SET timestamp = now() - id * interval '1 second' / 2")
        session.execute("VACUUM (FULL, ANALYZE) metrics")
        session.execute("VACUUM (FULL, ANALYZE) log_entries")
        session.execute("CHECKPOINT")
