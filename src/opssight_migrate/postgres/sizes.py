"""How big things are, by the planner's statistics: for forecasts, never for decisions."""

from __future__ import annotations

from collections.abc import Sequence

from opssight_migrate.postgres.session import Session

_ROWS = """
SELECT greatest(coalesce(max(reltuples), 0), 0)::bigint
  FROM pg_class WHERE oid = to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(table)s))
"""
_WIDTH = """
SELECT coalesce(sum(avg_width), 0)::bigint FROM pg_stats
 WHERE schemaname = 'public' AND tablename = %(table)s AND attname = ANY(%(columns)s)
"""
# Without its indexes, with what is stored apart; those of an extension are none of ours.
_TABLE_BYTES = """
SELECT c.relname::text, pg_table_size(c.oid)::bigint
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
"""
_STORED_BYTES = """
SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
"""
# A column without statistics is taken for a short text.
_UNKNOWN_WIDTH_BYTES = 16


def rows(session: Session, table: str, schema: str = "public") -> int:
    """Return the guessed number of rows; 0 for a table never analysed, or not there."""
    return int(session.scalar(_ROWS, {"table": table, "schema": schema}))


def key_width_bytes(session: Session, table: str, columns: Sequence[str]) -> int:
    """Return the average bytes of the columns together, as ANALYZE saw them."""
    width = int(session.scalar(_WIDTH, {"table": table, "columns": list(columns)}))
    return width or _UNKNOWN_WIDTH_BYTES * len(columns)


def table_bytes(session: Session) -> dict[str, int]:
    """Return the bytes of each ordinary table in ``public``, without its indexes."""
    return {table: int(size) for table, size in session.rows(_TABLE_BYTES)}


def stored_bytes(session: Session) -> int:
    """Return the bytes of all tables of the database, without their indexes."""
    return int(session.scalar(_STORED_BYTES))
