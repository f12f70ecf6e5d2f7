"""How big things are, by the planner's statistics: for forecasts, never for decisions."""

from __future__ import annotations

from collections.abc import Sequence

from opssight_migrate.postgres.session import Session

_ROWS = """
SELECT greatest(coalesce(max(reltuples), 0), 0)::bigint
  FROM pg_class WHERE oid = to_regclass('public.' || quote_ident(%(table)s))
"""
_WIDTH = """
SELECT coalesce(sum(avg_width), 0)::bigint FROM pg_stats
 WHERE schemaname = 'public' AND tablename = %(table)s AND attname = ANY(%(columns)s)
"""
# A column without statistics is taken for a short text.
_UNKNOWN_WIDTH_BYTES = 16


def rows(session: Session, table: str) -> int:
    """Return the guessed number of rows; 0 for a table never analysed, or not there."""
    return int(session.scalar(_ROWS, {"table": table}))


def key_width_bytes(session: Session, table: str, columns: Sequence[str]) -> int:
    """Return the average bytes of the columns together, as ANALYZE saw them."""
    width = int(session.scalar(_WIDTH, {"table": table, "columns": list(columns)}))
    return width or _UNKNOWN_WIDTH_BYTES * len(columns)
