"""TimescaleDB around a restore: its own triggers and workers held back until all is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opssight_migrate.postgres import timescale
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier, Literal

_SCHEMA = """
SELECT n.nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = 'timescaledb'
"""


def version_in(session: Session) -> str | None:
    """Return the version of TimescaleDB in the session's database; None without it."""
    return timescale.offered(session).installed


@contextmanager
def restoring(session: Session, version: str) -> Iterator[None]:
    """Prepare the session's database for a dump with TimescaleDB in it, and finish it afterwards.

    The rows of its own catalogue fit its version only, so it is made in that version first.
    Source: Timescale's documentation, "Logical backup with pg_dump and pg_restore".
    """
    make = SQL("CREATE EXTENSION IF NOT EXISTS timescaledb VERSION {}").format(Literal(version))
    session.execute(make)
    schema = Identifier(str(session.scalar(_SCHEMA)))
    session.scalar(SQL("SELECT {}.timescaledb_pre_restore()").format(schema))
    yield
    session.scalar(SQL("SELECT {}.timescaledb_post_restore()").format(schema))


def resume(session: Session) -> None:
    """Start the jobs of the session's database: whoever renames one stops them, until then.

    Source: TimescaleDB, src/loader/loader.c, on ALTER DATABASE RENAME.
    """
    if timescale.is_installed(session):
        start = timescale.internal(session, "start_background_workers")
        session.scalar(SQL("SELECT {}()").format(start))
