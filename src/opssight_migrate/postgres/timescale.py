"""TimescaleDB where it is to be had: what the server offers, and empty hypertables."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.locks import Door, Wanted
from opssight_migrate.postgres.session import Session

_OFFERED = """
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'),
       (SELECT setting ~ 'timescaledb' FROM pg_settings WHERE name = 'shared_preload_libraries'),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
"""
_SCHEMA_OF_EXTENSION = """
SELECT n.nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = 'timescaledb'
"""
_IS_HYPERTABLE = """
SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE hypertable_schema = 'public' AND hypertable_name = %s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the server has. ``reason`` says why hypertables cannot be had; None if they can."""

    installed: str | None
    reason: str | None
    hint: str | None = None


def offered(session: Session) -> Offer:
    """Look whether TimescaleDB is installed, or could be installed by this role right now."""
    row = session.row(_OFFERED)
    installed, available, preloaded, superuser = row if row is not None else (None,) * 4
    if installed:
        return Offer(installed=str(installed), reason=None)
    if not available:
        return Offer(
            installed=None,
            reason="TimescaleDB is not on this server",
            hint="install the package timescaledb-2-postgresql-<major>, then run migrate again",
        )
    if preloaded is False:
        return Offer(
            installed=None,
            reason=f"TimescaleDB {available} is not in shared_preload_libraries",
            hint="add it there, restart the server, then run migrate again",
        )
    if not superuser:
        return Offer(
            installed=None,
            reason=f"TimescaleDB {available} is available and this role may not create it",
            hint="as a superuser: CREATE EXTENSION timescaledb, then run migrate again",
        )
    return Offer(installed=None, reason=None)


def is_hypertable(session: Session, table: str) -> bool:
    """Tell whether ``table`` is a hypertable; False where TimescaleDB is not installed."""
    if session.scalar(_SCHEMA_OF_EXTENSION) is None:
        return False
    return bool(session.scalar(_IS_HYPERTABLE, (table,)))


def create_extension(session: Session) -> None:
    """Install TimescaleDB in this database, unless it is."""
    session.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")


def make_hypertable(session: Session, door: Door, table: str, time_column: str) -> bool:
    """Turn an empty table into a hypertable; False, and nothing done, when it has rows.

    A unique index of a hypertable must hold the time column, so the primary key takes it in.
    """
    schema = str(session.scalar(_SCHEMA_OF_EXTENSION))
    done = False

    def work() -> None:
        nonlocal done
        done = False
        if not catalog.table_is_empty(session, table):
            return
        session.execute(
            sql.SQL(
                "ALTER TABLE {table} DROP CONSTRAINT {key},"
                " ADD CONSTRAINT {key} PRIMARY KEY (id, {time})"
            ).format(
                table=sql.Identifier("public", table),
                key=sql.Identifier(f"{table}_pkey"),
                time=sql.Identifier(time_column),
            )
        )
        session.execute(
            sql.SQL(
                "SELECT {schema}.create_hypertable("
                "{table}, {time}, create_default_indexes => false)"
            ).format(
                schema=sql.Identifier(schema),
                table=sql.Literal(f"public.{table}"),
                time=sql.Literal(time_column),
            )
        )
        done = True

    door.through((Wanted(table),), work)
    return done
