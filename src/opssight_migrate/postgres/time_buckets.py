"""Queries by time buckets, as the application asks them, and a row to try one with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from opssight_migrate.postgres import timescale
from opssight_migrate.postgres.session import Session

# The newest span only: on a table of years the whole of it would be read.
_COUNTED = """
WITH newest AS (SELECT max({time}) - %(span)s::interval AS since FROM {table})
SELECT (SELECT coalesce(sum(b.rows), 0)::int8
          FROM (SELECT {bucket}('1 hour'::interval, t.{time}) AS at, count(*) AS rows
                  FROM {table} AS t WHERE t.{time} >= (SELECT since FROM newest)
                 GROUP BY 1) AS b),
       (SELECT count(*) FROM {table} AS t WHERE t.{time} >= (SELECT since FROM newest))
"""
_METRIC = """
INSERT INTO metrics (id, organization_id, "timestamp", metric_name, metric_type, source, value,
       is_interpolated, created_at, updated_at)
SELECT -1, o.id, now(), 'probe', 'gauge', 'opssight-migrate', 0, false, now(), now()
  FROM (SELECT min(id) AS id FROM organizations) AS o WHERE o.id IS NOT NULL
"""
_LOG_ENTRY = """
INSERT INTO log_entries (id, organization_id, "timestamp", log_level, source, message, created_at)
SELECT -1, o.id, now(), 'info', 'opssight-migrate', 'probe', now()
  FROM (SELECT min(id) AS id FROM organizations) AS o WHERE o.id IS NOT NULL
"""
_PROBES = {"metrics": sql.SQL(_METRIC), "log_entries": sql.SQL(_LOG_ENTRY)}
_FOUND = """
SELECT EXISTS (SELECT FROM (SELECT {bucket}('1 hour'::interval, t.{time}) AS at, t.id
                              FROM {table} AS t WHERE t.{time} = now()) AS b
                WHERE b.id = -1 AND b.at <= now() AND b.at > now() - interval '1 hour')
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of the newest rows there are, counted by time buckets and by themselves."""

    by_bucket: int
    rows: int


def counted(session: Session, table: str, time: str, span: timedelta) -> Counted:
    """Count the rows of the newest ``span`` both ways, in one snapshot."""
    query = sql.SQL(_COUNTED).format(**_names(session, table, time))
    return Counted(*(int(count) for count in session.rows(query, {"span": span})[0]))


def probed(session: Session, table: str, time: str) -> bool:
    """Write a row and tell whether a query by buckets finds it; True without any organization.

    The caller rolls back. The id is given, and below nought: a sequence that moved stays moved.
    """
    if not session.execute(_PROBES[table]):
        return True
    return bool(session.scalar(sql.SQL(_FOUND).format(**_names(session, table, time))))


def _names(session: Session, table: str, time: str) -> dict[str, sql.Composable]:
    return {
        "bucket": timescale.function(session, "time_bucket"),
        "table": sql.Identifier("public", table),
        "time": sql.Identifier(time),
    }
