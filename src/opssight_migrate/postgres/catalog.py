"""The small questions that others ask of the catalogue, one function each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.model.errors import ShapeError
from opssight_migrate.postgres.session import Session

_OID = "SELECT to_regclass('public.' || quote_ident(%(name)s))::oid::int8"
_ROWS_GUESSED = """
SELECT greatest(c.reltuples, 0)::int8
  FROM pg_class AS c
 WHERE c.oid = to_regclass('public.' || quote_ident(%(name)s))
"""
_OWNER = """
SELECT pg_get_userbyid(c.relowner)::text
  FROM pg_class AS c
 WHERE c.oid = to_regclass('public.' || quote_ident(%(name)s))
"""
_FILENODE = "SELECT pg_relation_filenode(to_regclass('public.' || quote_ident(%(name)s)))::int8"
_INDEX_STATE = """
SELECT t.relname::text, x.indisvalid, x.indisready, x.indislive, x.indisunique,
       pg_get_indexdef(x.indexrelid)
  FROM pg_index AS x
  JOIN pg_class AS t ON t.oid = x.indrelid
 WHERE x.indexrelid = to_regclass('public.' || quote_ident(%(name)s))
"""
_CONSTRAINT_STATE = """
SELECT k.contype::text, k.convalidated, pg_get_constraintdef(k.oid)
  FROM pg_constraint AS k
 WHERE k.conrelid = to_regclass('public.' || quote_ident(%(table)s)) AND k.conname = %(name)s
"""
_COLUMN_STATE = """
SELECT format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_attribute AS a
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%(table)s)) AND a.attname = %(name)s
   AND a.attnum > 0 AND NOT a.attisdropped
"""
_ENUM_LABELS = """
SELECT ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e
              WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
  FROM pg_type AS t
 WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'e' AND t.typname = %(name)s
"""
_REVISIONS = "SELECT version_num::text FROM public.alembic_version"


_KIND = (
    "SELECT relkind::text FROM pg_class WHERE oid = to_regclass('public.' || quote_ident(%(name)s))"
)
_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "c": "type",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexState:
    """An index as it is now; ``definition`` says its table without ``public.``."""

    table: str
    valid: bool
    ready: bool
    live: bool
    unique: bool
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintState:
    """A constraint as it is now; ``kind`` is pg_constraint's letter (p, u, f, c, x, n)."""

    kind: str
    validated: bool
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnState:
    """A column as it is now; ``default`` is None where it has none."""

    type: str
    not_null: bool
    default: str | None


def relation_exists(session: Session, name: str) -> bool:
    """Tell whether ``public`` has a relation (table, view, index, sequence) of that name."""
    return session.scalar(_OID, {"name": name}) is not None


def relation_kind(session: Session, name: str) -> str | None:
    """Return what kind of relation has that name in ``public``, in SQL's words, or None."""
    kind = session.scalar(_KIND, {"name": name})
    return None if kind is None else _KINDS.get(kind, "relation")


def table_is_empty(session: Session, table: str) -> bool:
    """Tell whether the table has no row at all; it reads one at the most."""
    query = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(sql.Identifier("public", table))
    return bool(session.scalar(query))


def any_has_rows(session: Session, tables: Iterable[str]) -> bool:
    """Tell whether one of those tables that are there has a row."""
    return any(
        relation_exists(session, table) and not table_is_empty(session, table) for table in tables
    )


def rows_guessed(session: Session, table: str) -> int | None:
    """Return the planner's row count for ``table``, or None if there is no such table.

    The unit is rows. It is a guess: ``reltuples`` is refreshed by VACUUM and ANALYZE only, and
    is -1 (here 0) for a table never analysed, so it may drive a progress bar but never a decision.
    Source: PostgreSQL 15 documentation, chapter "pg_class", column reltuples.
    """
    row = session.row(_ROWS_GUESSED, {"name": table})
    return None if row is None else int(row[0])


def rows_exact(session: Session, table: str) -> int:
    """Count the rows of ``table``; it reads the whole of it."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", table))
    return int(session.scalar(query))


def owner_of(session: Session, table: str) -> str | None:
    """Return the role that owns a relation, or None if there is no such relation."""
    row = session.row(_OWNER, {"name": table})
    return None if row is None else str(row[0])


def filenode_of(session: Session, table: str) -> int | None:
    """Return the number of a table's file, which changes when it is rewritten; None without one."""
    found = session.scalar(_FILENODE, {"name": table})
    return None if found is None else int(found)


def index_state(session: Session, name: str) -> IndexState | None:
    """Return what an index is now, or None if there is no such index."""
    row = session.row(_INDEX_STATE, {"name": name})
    if row is None:
        return None
    table, valid, ready, live, unique, definition = row
    return IndexState(
        table=table,
        valid=valid,
        ready=ready,
        live=live,
        unique=unique,
        definition=without_schema(definition),
    )


def constraint_state(session: Session, table: str, name: str) -> ConstraintState | None:
    """Return what a constraint is now, or None if the table has none of that name."""
    row = session.row(_CONSTRAINT_STATE, {"table": table, "name": name})
    if row is None:
        return None
    kind, validated, definition = row
    return ConstraintState(kind=kind, validated=validated, definition=definition)


def column_state(session: Session, table: str, column: str) -> ColumnState | None:
    """Return what a column is now, or None if the table has none of that name."""
    row = session.row(_COLUMN_STATE, {"table": table, "name": column})
    if row is None:
        return None
    type_, not_null, default = row
    return ColumnState(type=type_, not_null=not_null, default=default)


def enum_labels(session: Session, name: str) -> tuple[str, ...] | None:
    """Return the labels of an enum in their order, or None if there is no such enum."""
    row = session.row(_ENUM_LABELS, {"name": name})
    return None if row is None else tuple(row[0])


def current_revision(session: Session) -> str | None:
    """Return what Alembic stamped, or None where it stamped nothing.

    Raises: ShapeError, if there is more than one stamp: a branched chain is none of ours.
    """
    if not relation_exists(session, "alembic_version"):
        return None
    stamps = [str(stamp) for (stamp,) in session.rows(_REVISIONS)]
    if len(stamps) > 1:
        raise ShapeError(
            f"alembic_version has {len(stamps)} rows: {', '.join(sorted(stamps))}",
            where="alembic_version",
            hint="find out which stamp is true, and delete the others",
        )
    return stamps[0] if stamps else None


def without_schema(definition: str) -> str:
    """Return an index's definition with its table's bare name, as the golden ones spell it."""
    return definition.replace(" ON public.", " ON ", 1)
