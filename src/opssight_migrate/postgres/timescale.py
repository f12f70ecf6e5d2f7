"""TimescaleDB where it is to be had: what the server offers, and how to call it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.postgres.session import Session

COMMUNITY = "timescale"
# The licence is a setting only once the library is loaded. A trusted extension may be created by
# whoever may create in the database; but where it is not preloaded the attempt ends the session,
# and only a superuser may read what is: the loader's own setting shows it to everybody.
# What can be installed is read from the server's files: once, as that takes it some milliseconds.
_OFFERED = """
WITH offered AS MATERIALIZED (
    SELECT count(*) > 0 AS is_there, bool_or(trusted) AS is_trusted
      FROM pg_available_extension_versions WHERE name = 'timescaledb'
)
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       offered.is_there,
       (SELECT setting ~ 'timescaledb' FROM pg_settings WHERE name = 'shared_preload_libraries'),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       OR offered.is_trusted
          AND has_database_privilege(current_database(), 'CREATE')
          AND EXISTS (SELECT FROM pg_settings
                       WHERE name = 'timescaledb.max_background_workers'),
       current_setting('timescaledb.license', true)
  FROM offered
"""
# The default version, not the greatest text: "2.9" is greater than "2.28".
_DEFAULT_VERSION = "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
# The first versions with attach_chunk and split_chunk, and with the columnstore's names: asked only
# where nothing can be read of them yet.
_ATTACHES, _HAS_COLUMNSTORE = (2, 21), (2, 18)
_SCHEMA_OF_EXTENSION = """
SELECT n.nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = 'timescaledb'
"""
_IS_HYPERTABLE = """
SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                WHERE hypertable_schema = 'public' AND hypertable_name = %s)
"""
_HAS = """
SELECT EXISTS (SELECT FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid
                 JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'timescaledb'
                WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND p.proname = %s)
"""

_SCHEMA_OF_FUNCTION = """
SELECT p.pronamespace::regnamespace::text FROM pg_proc AS p
 WHERE p.proname = %s AND p.pronamespace::regnamespace::text
       IN ('_timescaledb_functions', '_timescaledb_internal')
 ORDER BY 1 LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the server has. ``reason`` says why hypertables cannot be had; None if they can.

    A function of the Community licence is there under Apache's too, and only refuses.
    ``available`` is the version that would be installed, None where one is, or none can be.

    ``licence`` is "timescale" or "apache", None while it is not known: then only what the Apache
    licence gives is counted on. ``attaches``: attach_chunk and detach_chunk can be called;
    ``splits``: a chunk can be split; ``has_columnstore``: compression goes by its names of 2.18 and
    later.
    """

    installed: str | None
    reason: str | None
    hint: str | None = None
    available: str | None = None
    licence: str | None = None
    attaches: bool = False
    splits: bool = False
    has_columnstore: bool = False

    @property
    def compresses(self) -> bool:
        """Whether compression and retention policies can be had: they are Timescale's own."""
        return self.licence == COMMUNITY

    @property
    def named(self) -> str:
        """Name version and licence, for people."""
        version = self.installed or self.available
        return f"TimescaleDB {version}, licence {self.licence or 'not known'}"


def offered(session: Session) -> Offer:
    """Look whether TimescaleDB is installed, or could be installed by this role right now."""
    row = session.row(_OFFERED)
    installed, available, preloaded, may_create, licence = row if row is not None else (None,) * 5
    if installed:
        is_community = licence == COMMUNITY
        return Offer(
            installed=str(installed),
            reason=None,
            licence=licence,
            attaches=is_community and _has(session, "attach_chunk"),
            splits=is_community and _has(session, "split_chunk"),
            has_columnstore=_has(session, "add_columnstore_policy"),
        )
    if not available:
        return Offer(
            installed=None,
            reason="TimescaleDB is not on this server",
            hint="install the package timescaledb-2-postgresql-<major>, then run migrate again",
        )
    version = session.scalar(_DEFAULT_VERSION)
    if preloaded is False:
        return Offer(
            installed=None,
            reason=f"TimescaleDB {version} is not in shared_preload_libraries",
            hint="add it there, restart the server, then run migrate again",
        )
    if not may_create:
        return Offer(
            installed=None,
            reason=f"TimescaleDB {version} is available and this role may not create it",
            hint="as a superuser: CREATE EXTENSION timescaledb, then run migrate again",
        )
    return promised(str(version), licence)


def promised(version: str, licence: str | None) -> Offer:
    """Return what a version will give once it is installed.

    The licence is known by then only where somebody configured it. Its own packages are Community's
    unless they say otherwise: that is counted on, and looked at again once the library is loaded.
    """
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    is_community = licence in (None, COMMUNITY)
    return Offer(
        installed=None,
        reason=None,
        available=version,
        licence=licence,
        attaches=is_community and number >= _ATTACHES,
        splits=is_community and number >= _ATTACHES,
        has_columnstore=number >= _HAS_COLUMNSTORE,
    )


def left_out(session: Session, engine: str) -> Offer | None:
    """Return the offer whose reason says why hypertables are left out; None when they are not."""
    if engine == "plain":
        return Offer(installed=None, reason="time_series.engine is plain")
    offer = offered(session)
    return None if offer.reason is None else offer


def _has(session: Session, function: str) -> bool:
    return bool(session.scalar(_HAS, (function,)))


def is_installed(session: Session) -> bool:
    """Tell whether this database has the extension."""
    return session.scalar(_SCHEMA_OF_EXTENSION) is not None


def is_hypertable(session: Session, table: str) -> bool:
    """Tell whether ``table`` is a hypertable; False where TimescaleDB is not installed."""
    return is_installed(session) and bool(session.scalar(_IS_HYPERTABLE, (table,)))


def create_extension(session: Session) -> None:
    """Install TimescaleDB in this database, unless it is."""
    if not is_installed(session):
        session.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")


def internal(session: Session, name: str) -> sql.Identifier:
    """Return one of its internal functions; their schema has changed over the versions."""
    return sql.Identifier(str(session.scalar(_SCHEMA_OF_FUNCTION, (name,))), name)


def function(session: Session, name: str) -> sql.Identifier:
    """Return one of its public functions by its qualified name, wherever the extension lives."""
    return sql.Identifier(str(session.scalar(_SCHEMA_OF_EXTENSION)), name)
