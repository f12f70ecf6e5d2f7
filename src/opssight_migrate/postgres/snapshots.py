"""The digest of every table before a run, kept in the journal to be compared with afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opssight_migrate.postgres import ranges
from opssight_migrate.postgres.ranges import Range
from opssight_migrate.postgres.session import Session

_KEPT = """
INSERT INTO opssight_migrate.snapshots (run_id, table_name, columns, rows, digest, writes, deletes)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_FIRST_OF_LINEAGE = """
SELECT run_id, table_name, columns, rows, digest, writes
  FROM opssight_migrate.snapshots
 WHERE run_id = (SELECT s.run_id FROM opssight_migrate.snapshots AS s
                  WHERE s.run_id = ANY(%(lineage)s)
                  ORDER BY array_position(%(lineage)s, s.run_id) LIMIT 1)
 ORDER BY table_name
"""
# The server counts everybody's rows together, so ours are counted as they are written, and what is
# rolled back as well, since it counts that too.
# The view of one transaction still has what those before it wrote, until the backend reports that.
# Only the tables of the snapshot are asked for, since this is asked twice for each batch.
_UNREPORTED = """
SELECT w.* FROM (
       SELECT s.table_name, pg_stat_get_xact_tuples_inserted(c.oid)
              + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid)
              AS written
         FROM opssight_migrate.snapshots AS s,
              CAST(to_regclass('public.' || quote_ident(s.table_name)) AS oid) AS c (oid)
        WHERE s.run_id = %s
       OFFSET 0
       ) AS w
 WHERE w.written > 0
"""
_OURS_COUNTED = """
UPDATE opssight_migrate.snapshots SET own_writes = own_writes + %s
 WHERE run_id = %s AND table_name = %s
"""
_OURS = "SELECT table_name, own_writes FROM opssight_migrate.snapshots WHERE run_id = %s"
_WRITES = """
SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del, n_tup_del
  FROM pg_stat_user_tables WHERE schemaname = 'public'
"""
_FLUSHED = "SELECT pg_stat_clear_snapshot()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One table as it was. ``writes`` is the server's count of rows written since its reset.

    ``deletes`` counts those of them that were deletions, ``ranges`` are kept for ``verify``.
    ``run_id`` is the run that took it, "" before it is kept.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    digest: str
    writes: int
    deletes: int | None = None
    ranges: tuple[Range, ...] = ()
    run_id: str = ""


def keep(session: Session, run_id: str, snapshots: Sequence[Snapshot]) -> None:
    """Write the snapshot of a run, whole or not at all."""
    with session.writing():
        for one in snapshots:
            written = (one.writes, one.deletes)
            values = (run_id, one.table, list(one.columns), one.rows, one.digest, *written)
            session.execute(_KEPT, values)
            ranges.keep(session, run_id, one.table, one.ranges)


def first_of(session: Session, lineage: Sequence[str]) -> tuple[Snapshot, ...]:
    """Return the snapshot that the first of these runs took, empty if none did.

    A run that goes on from a killed one compares with what was before the killed one.
    """
    rows = session.rows(_FIRST_OF_LINEAGE, {"lineage": list(lineage)})
    return tuple(
        Snapshot(
            run_id=run_id,
            table=table,
            columns=tuple(columns),
            rows=count,
            digest=digest,
            writes=writes,
        )
        for run_id, table, columns, count, digest, writes in rows
    )


@contextmanager
def counting_ours(session: Session, run_id: str) -> Iterator[None]:
    """Add what the block writes to what we wrote since the snapshot, in the same transaction.

    The block rolls back to a savepoint at the most: what it wrote and took back is counted too.
    """
    before: dict[str, int] = dict(session.rows(_UNREPORTED, (run_id,)))
    yield
    for table, written in session.rows(_UNREPORTED, (run_id,)):
        if (ours := written - before.get(table, 0)) > 0:
            session.execute(_OURS_COUNTED, (ours, run_id, table))


def writes_by_us(session: Session, run_id: str) -> dict[str, int]:
    """Return how many rows of each table we have written since the snapshot that a run took."""
    return dict(session.rows(_OURS, (run_id,)))


def writes_by_table(session: Session) -> dict[str, int]:
    """Return how many rows of each table were ever written, as the statistics know by now."""
    session.execute(_FLUSHED)
    return {table: int(count) for table, count, _ in session.rows(_WRITES)}


def deletes_by_table(session: Session) -> dict[str, int]:
    """Return how many of those were deletions."""
    session.execute(_FLUSHED)
    return {table: int(count) for table, _, count in session.rows(_WRITES)}
