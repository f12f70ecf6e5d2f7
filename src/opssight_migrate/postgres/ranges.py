"""The digests of a table's key ranges, kept before a run, to say later which rows differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from opssight_migrate.postgres import digest, sql
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.session import Session

SCHEMA = """
CREATE TABLE IF NOT EXISTS opssight_migrate.snapshot_ranges (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    table_name text NOT NULL,
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    rows bigint NOT NULL,
    digest numeric NOT NULL,
    PRIMARY KEY (run_id, table_name, lo)
);
ALTER TABLE opssight_migrate.snapshots ADD COLUMN IF NOT EXISTS deletes bigint,
    ADD COLUMN IF NOT EXISTS own_writes bigint NOT NULL DEFAULT 0;
"""
# So many ranges a table at the most: one key each in a small table, some thousands in a big one.
RANGES = 1024
_KEPT = """
INSERT INTO opssight_migrate.snapshot_ranges (run_id, table_name, lo, hi, rows, digest)
SELECT %(run)s, %(table)s, r.lo, r.hi, r.rows, r.digest
  FROM unnest(%(lo)s::bigint[], %(hi)s::bigint[], %(rows)s::bigint[], %(digest)s::numeric[])
       AS r (lo, hi, rows, digest)
"""
_NEWEST = """
SELECT s.table_name, s.columns, s.rows, s.digest, s.taken_at,
       s.writes, s.deletes,
       coalesce(r.lo, '{}'), coalesce(r.hi, '{}'), coalesce(r.rows, '{}'),
       coalesce(r.digest, '{}')
  FROM opssight_migrate.snapshots AS s
  LEFT JOIN LATERAL (
       SELECT array_agg(lo ORDER BY lo) AS lo, array_agg(hi ORDER BY lo) AS hi,
              array_agg(rows ORDER BY lo) AS rows, array_agg(digest ORDER BY lo) AS digest
         FROM opssight_migrate.snapshot_ranges AS g
        WHERE g.run_id = s.run_id AND g.table_name = s.table_name) AS r ON true
 WHERE s.run_id = (SELECT r.id FROM opssight_migrate.runs AS r
                    WHERE EXISTS (SELECT FROM opssight_migrate.snapshots AS x
                                   WHERE x.run_id = r.id)
                    ORDER BY r.epoch DESC LIMIT 1)
 ORDER BY s.table_name
"""
_ARE_KEPT = "SELECT EXISTS (SELECT FROM opssight_migrate.snapshot_ranges)"
_EXIST = "SELECT to_regclass('opssight_migrate.snapshot_ranges') IS NOT NULL"
_COUNTERS = """
SELECT n_tup_ins + n_tup_upd + n_tup_del, n_tup_del
  FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = %s
"""
# The application marks each row that it writes; a mark of the far future is no mark. A transaction
# that was open when the snapshot was taken carries an older time than the snapshot.
_MARKS = """
SELECT a.attname::text, a.atttypid = 'timestamptz'::regtype
  FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%s))
   AND a.attname IN ('created_at', 'updated_at')
   AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype) AND NOT a.attisdropped
"""
_IS_NEW = "({} BETWEEN {}::timestamptz - interval '10 minutes' AND now() + interval '1 day')"
# A naive time may be of any zone.
_IS_NEW_NAIVE = "({} BETWEEN {}::timestamptz - interval '15 hours' AND now() + interval '1 day')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Keys from ``lo`` (included) to ``hi`` (excluded). ``marked`` rows were written since."""

    lo: int
    hi: int
    rows: int
    digest: int
    marked: int = 0

    def __str__(self) -> str:
        return str(self.lo) if self.hi - self.lo == 1 else f"{self.lo}..{self.hi - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """One table as it was when the last run began. Without an integer key there are no ranges."""

    table: str
    columns: tuple[str, ...]
    rows: int
    digest: str
    taken_at: datetime
    writes: int
    deletes: int | None
    ranges: tuple[Range, ...]


def digest_and_ranges(
    session: Session, table: str, columns: Sequence[str]
) -> tuple[TableDigest, tuple[Range, ...]]:
    """Digest a table in one scan, whole and by ranges of its key."""
    bounds = digest.key_bounds(session, table)
    if bounds is None:
        return digest.digest_table(session, table, columns), ()
    lo, hi = bounds
    width = (hi - lo) // RANGES + 1
    found = tuple(
        Range(lo=lo + place * width, hi=lo + (place + 1) * width, rows=rows, digest=value)
        for place, rows, value, _ in digest.digest_by_key(session, table, columns, lo, width)
    )
    whole = TableDigest(
        table=table,
        columns=tuple(columns),
        rows=sum(one.rows for one in found),
        value=str(sum(one.digest for one in found)),
    )
    return whole, found


def keep(session: Session, run_id: str, table: str, ranges: Sequence[Range]) -> None:
    """Write the ranges of one table, in the caller's transaction."""
    session.execute(
        _KEPT,
        {
            "run": run_id,
            "table": table,
            "lo": [one.lo for one in ranges],
            "hi": [one.hi for one in ranges],
            "rows": [one.rows for one in ranges],
            "digest": [str(one.digest) for one in ranges],
        },
    )


def are_kept(session: Session) -> bool:
    """Tell whether any run has kept a snapshot with ranges."""
    return bool(session.scalar(_EXIST) and session.scalar(_ARE_KEPT))


def newest(session: Session) -> tuple[Before, ...]:
    """Return the tables as the newest run that kept a snapshot found them."""
    if not are_kept(session):
        return ()
    return tuple(
        Before(
            table=table,
            columns=tuple(columns),
            rows=rows,
            digest=value,
            taken_at=taken_at,
            writes=writes,
            deletes=deletes,
            ranges=tuple(
                Range(lo=a, hi=b, rows=n, digest=int(d))
                for a, b, n, d in zip(lo, hi, counts, digests, strict=True)
            ),
        )
        for (
            table,
            columns,
            rows,
            value,
            taken_at,
            writes,
            deletes,
            lo,
            hi,
            counts,
            digests,
        ) in session.rows(_NEWEST)
    )


def now(session: Session, before: Before) -> dict[int, Range]:
    """Digest the same ranges again, by their lower bound; those beyond the last are left out."""
    first = before.ranges[0]
    width = first.hi - first.lo
    marked = _marked(session, before)
    last = before.ranges[-1].hi
    return {
        first.lo + place * width: Range(
            lo=first.lo + place * width,
            hi=first.lo + (place + 1) * width,
            rows=rows,
            digest=value,
            marked=new,
        )
        for place, rows, value, new in digest.digest_by_key(
            session, before.table, before.columns, first.lo, width, marked=marked, until=last
        )
    }


def has_marks(session: Session, table: str) -> bool:
    """Tell whether the application leaves a mark when it writes a row of this table."""
    return bool(session.rows(_MARKS, (table,)))


def deleted_since(session: Session, before: Before) -> int | None:
    """Count the deletions since the snapshot; None where the server has begun to count anew.

    It does so after a crash, in a copy, and where somebody reset the statistics.
    """
    session.execute("SELECT pg_stat_clear_snapshot()")
    writes, deletes = session.row(_COUNTERS, (before.table,)) or (0, 0)
    if before.deletes is None or writes < before.writes or deletes < before.deletes:
        return None
    return int(deletes) - before.deletes


def _marked(session: Session, before: Before) -> sql.Composable:
    """Return the condition under which a row was written since the snapshot, by its own word."""
    conditions = [
        sql.SQL(_IS_NEW if zoned else _IS_NEW_NAIVE).format(
            sql.Identifier("t", name), sql.Literal(before.taken_at.isoformat())
        )
        for name, zoned in session.rows(_MARKS, (before.table,))
    ]
    return sql.SQL(" OR ").join(conditions) if conditions else sql.SQL("false")
