"""What runs leave behind: broken indexes, old journal rows, scratch and retired databases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from opssight_migrate.opssight import shims
from opssight_migrate.opssight.goings import golden_names
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.postgres import audit_chain, journal
from opssight_migrate.postgres.session import Session

RETIRED = "_before_"
_NAME_BYTES = 63

_INVALID = """
SELECT i.relname::text, t.relname::text
  FROM pg_index AS x
  JOIN pg_class AS i ON i.oid = x.indexrelid
  JOIN pg_class AS t ON t.oid = x.indrelid
 WHERE NOT x.indisvalid AND i.relnamespace = 'public'::regnamespace
   AND regexp_replace(i.relname, '_cc(new|old)[0-9]*$', '') = ANY(%s)
 ORDER BY 1
"""
_RUNS = """
SELECT r.id, coalesce(r.finished_at, r.started_at),
       EXISTS (SELECT FROM opssight_migrate.runs AS l
                WHERE r.id = ANY (l.lineage) AND l.status NOT IN ('ok', 'superseded')),
       EXISTS (SELECT FROM opssight_migrate.audit_rows AS a
                WHERE a.run_id = r.id AND a.written_at IS NULL)
  FROM opssight_migrate.runs AS r
 WHERE r.environment = %s
 ORDER BY r.epoch
"""
_FORGET: tuple[sql.Composed, ...] = tuple(
    sql.SQL("DELETE FROM opssight_migrate.{} WHERE run_id = %s").format(sql.Identifier(table))
    for table in (
        "batches",
        "lock_receipts",
        "steps",
        "snapshot_ranges",
        "snapshots",
        "query_baselines",
        "audit_rows",
    )
)
_FORGET_RUN = "DELETE FROM opssight_migrate.runs WHERE id = %s"

_DATABASES = """
SELECT d.datname::text, pg_database_size(d.oid)::int8,
       (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.oid),
       (SELECT count(*) FROM pg_replication_slots AS s WHERE s.database = d.datname)
  FROM pg_database AS d
 WHERE starts_with(d.datname, %s) AND d.datname <> current_database()
   AND pg_has_role(d.datdba, 'USAGE')
   -- Who lends a database out holds an advisory lock of its name, in whichever database.
   AND NOT EXISTS (SELECT FROM pg_locks AS l
                    WHERE l.locktype = 'advisory' AND l.objsubid = 1
                      AND (l.classid::int8 << 32) | l.objid::int8
                          = hashtextextended(d.datname, 0))
 ORDER BY 1
"""
_NAME = "SELECT current_database()::text"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run in the journal. ``owes_audit``: rows of it wait here for an audit log."""

    id: str
    at: datetime
    is_unfinished: bool
    owes_audit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherDatabase:
    """A database beside ours. ``sessions`` are connected to it; ``slots`` would go with it."""

    name: str
    size_bytes: int
    sessions: int
    slots: int


def broken_indexes(session: Session) -> tuple[tuple[str, str], ...]:
    """Return the indexes of ours that a killed build left INVALID, each with its table."""
    own = {name for revision in REVISIONS for name in golden_names(revision.id)}
    own |= {name for shim in shims.ONCE_UNIQUE for name in (shim.index, shim.twin)}
    return tuple((str(name), str(table)) for name, table in session.rows(_INVALID, (sorted(own),)))


def past_runs(session: Session, environment: str) -> tuple[PastRun, ...]:
    """Return the runs of an environment in the journal, oldest first."""
    if not journal.exists(session):
        return ()
    return tuple(
        PastRun(id=run_id, at=at, is_unfinished=is_unfinished, owes_audit=owes_audit)
        for run_id, at, is_unfinished, owes_audit in session.rows(_RUNS, (environment,))
    )


def forget_run(session: Session, run_id: str) -> None:
    """Take a run out of the journal, in the caller's transaction."""
    audit_chain.forget(session, run_id)
    for statement in _FORGET:
        session.execute(statement, (run_id,))
    session.execute(_FORGET_RUN, (run_id,))


def scratch_databases(session: Session, prefix: str) -> tuple[OtherDatabase, ...]:
    """Return the databases whose names begin so and to which nobody is connected."""
    return tuple(one for one in _databases(session, prefix) if not one.sessions)


def retired_databases(session: Session) -> tuple[OtherDatabase, ...]:
    """Return what rollbacks of data left of this database: ``<name>_before_<run>``."""
    name = str(session.scalar(_NAME))
    longest = _NAME_BYTES - len(RETIRED) - 11
    prefix = name.encode()[:longest].decode(errors="ignore") + RETIRED
    return tuple(_databases(session, prefix))


def drop_database(session: Session, name: str) -> None:
    """Drop a database to which nobody is connected."""
    session.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _databases(session: Session, prefix: str) -> Iterable[OtherDatabase]:
    return [
        OtherDatabase(name=name, size_bytes=size, sessions=sessions, slots=slots)
        for name, size, sessions, slots in session.rows(_DATABASES, (prefix,))
    ]
