"""An order-free digest of a table's rows over the columns it had before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.model.errors import StatementError
from opssight_migrate.postgres.session import Session

# Partitions, inheritance children and TimescaleDB's chunks are read through their parent.
_COLUMNS_BY_TABLE = """
SELECT c.relname::text, ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                               ORDER BY a.attnum)
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname <> 'alembic_version' AND has_table_privilege(c.oid, 'SELECT')
   AND (%(tables)s::text[] IS NULL OR c.relname = ANY(%(tables)s::text[]))
   AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY c.relname COLLATE "C"
"""
# A domain counts as the type under it. The key is the first column of the primary key.
_TYPES = """
WITH RECURSIVE typed AS (
    SELECT a.attname, a.attnum, t.oid, t.typtype, t.typbasetype
      FROM pg_attribute AS a
      JOIN pg_type AS t ON t.oid = a.atttypid
     WHERE a.attrelid = to_regclass('public.' || quote_ident(%(table)s))
       AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT typed.attname, typed.attnum, t.oid, t.typtype, t.typbasetype
      FROM typed
      JOIN pg_type AS t ON t.oid = typed.typbasetype
     WHERE typed.typtype = 'd'
)
SELECT typed.attname::text, typed.oid::int8,
       coalesce(typed.attnum = (SELECT x.indkey[0] FROM pg_index AS x
                                 WHERE x.indrelid = to_regclass('public.' || quote_ident(%(table)s))
                                   AND x.indisprimary), false)
  FROM typed
 WHERE typed.typtype <> 'd'
"""

_BOOL, _BYTEA, _INT8, _INT2, _INT4, _TEXT = 16, 17, 20, 21, 23, 25
_BPCHAR, _VARCHAR, _DATE, _TIMESTAMP, _TIMESTAMPTZ, _UUID = 1042, 1043, 1082, 1114, 1184, 2950
# Types whose hash tells any two values apart that their text tells apart, and which is the same on
# every server. Not among them: numeric (1.0 = 1.00), floats (0 = -0), int8
# (folded to 32 bits before it is hashed, so 1 = 4294967296), jsonb ([1] = [[[1]]], 1.0 = 1.00),
# enums (the hash of an OID), json, xml and points (no hash). Those, and all that is unknown, go
# in as text. Timestamps are folded like int8, and stay: no shift by quarter hours or days, and no
# two whole seconds within weeks, folded alike in a million tries.
_HASHED_AS_THEY_ARE = {_BOOL, _BYTEA, _INT2, _INT4, _DATE, _TIMESTAMP, _TIMESTAMPTZ, _UUID}
_STRINGS = {_TEXT, _VARCHAR}
_INTEGERS = {_INT2, _INT4, _INT8}
_FIRST_WITH_RECORD_HASH = 140000

# The record's hash is linear in its columns: without the second hash, two rows that swapped their
# e-mails leave the sum as it was. The second one takes the first as text, because hashint8 would
# fold it to 32 bits. A sum, not XOR, in which a pair of equal rows would vanish.
_SUM_OF_RECORDS = sql.SQL(
    'hashtextextended(hash_record_extended(ROW({values}), 0)::text COLLATE "C", 1)'
)
_SUM_OF_TEXTS = sql.SQL('hashtextextended(ROW({values})::text COLLATE "C", 0)')
_DIGEST = sql.SQL("SELECT count(*), coalesce(sum({hashed}), 0)::text FROM {table} AS t{where}")
_BOUNDS = sql.SQL("SELECT min({key}), max({key}) FROM {table}")
_DIGEST_BY_KEY = sql.SQL(
    "SELECT ({key}::int8 - {lo}) / {width} AS place, count(*), sum({hashed}),"
    " count(*) FILTER (WHERE {marked}) FROM {table} AS t{where} GROUP BY 1"
)
_NOTHING = sql.SQL("false")
_HASHES = sql.SQL("SELECT {keys}, {hashed}::text FROM {table} AS t{where}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDigest:
    """The digest of a table, or of a range of it; equal ones have equal rows in these columns.

    ``value`` compares between servers from PostgreSQL 14 on, not with one from 13.
    """

    table: str
    columns: tuple[str, ...]
    rows: int
    value: str


def columns_by_table(
    session: Session, tables: Iterable[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the columns of the tables in ``public``, or of those in ``tables`` that exist.

    alembic_version, partitions and chunks are left out, and tables of others that this role may
    not read: that it can read OpsSight's own was looked at before.
    """
    wanted = None if tables is None else list(tables)
    found = session.rows(_COLUMNS_BY_TABLE, {"tables": wanted})
    return {table: tuple(columns) for table, columns in found}


def digest_database(
    session: Session, columns_by_table: Mapping[str, Sequence[str]]
) -> dict[str, TableDigest]:
    """Digest several tables, each over its columns; call it within one ``session.reading()``."""
    return {
        table: digest_table(session, table, columns) for table, columns in columns_by_table.items()
    }


def digest_table(
    session: Session,
    table: str,
    columns: Sequence[str],
    *,
    lo: int | None = None,
    hi: int | None = None,
) -> TableDigest:
    """Digest ``table`` over ``columns``, whatever order its rows stand in.

    ``lo`` (included) and ``hi`` (excluded) cut a range out of the primary key's first column, which
    must be an integer then; None is no bound.

    Raises: StatementError, if a column is not there or the key is not an integer.
    """
    types, key = _types(session, table)
    query = _DIGEST.format(
        hashed=_hashed(session, table, columns, types),
        table=sql.Identifier("public", table),
        where=_range(table, key, lo, hi),
    )
    row = session.row(query)
    rows, value = (0, "0") if row is None else row
    return TableDigest(table=table, columns=tuple(columns), rows=rows, value=value)


def has_integer_key(session: Session, table: str) -> bool:
    """Tell whether the first column of the table's primary key is an integer."""
    return _types(session, table)[1] is not None


def key_bounds(session: Session, table: str) -> tuple[int, int] | None:
    """Return the least and the greatest key of a table; None when empty or without integer key."""
    _, key = _types(session, table)
    if key is None:
        return None
    query = _BOUNDS.format(key=sql.Identifier(key), table=sql.Identifier("public", table))
    row = session.row(query)
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def digest_by_key(
    session: Session,
    table: str,
    columns: Sequence[str],
    lo: int,
    width: int,
    *,
    marked: sql.Composable = _NOTHING,
    until: int | None = None,
) -> list[tuple[int, int, int, int]]:
    """Digest a table in one scan by ranges of ``width`` keys, counted from ``lo``.

    Each answer is the range's number, its rows, its digest, and its rows for which ``marked``
    holds. Their digests add up to the table's. Keys below ``lo``, and from ``until`` on, are
    left out.
    """
    types, key = _types(session, table)
    query = _DIGEST_BY_KEY.format(
        hashed=_hashed(session, table, columns, types),
        table=sql.Identifier("public", table),
        key=sql.Identifier("t", key or ""),
        lo=sql.Literal(lo),
        width=sql.Literal(width),
        marked=marked,
        where=_range(table, key, lo, until),
    )
    # The planner takes each key for a group of its own, and would sort the table for them.
    session.execute("SET enable_sort = off")
    found = session.rows(query)
    session.execute("RESET enable_sort")
    return sorted((int(p), int(n), int(d), int(m)) for p, n, d, m in found)


def row_hashes(
    session: Session,
    table: str,
    columns: Sequence[str],
    key: Sequence[str],
    *,
    lo: int | None = None,
    hi: int | None = None,
) -> list[tuple[tuple[str, ...], str]]:
    """Return the key of each row, as text, with the hash of its ``columns``; bounds as above.

    Without a ``key`` the hash itself is the key, so that equal rows cannot be told apart.
    """
    types, integer_key = _types(session, table)
    hashed = _hashed(session, table, columns, types)
    keys = [sql.SQL("{}::text").format(sql.Identifier("t", name)) for name in key]
    query = _HASHES.format(
        keys=sql.SQL(", ").join(keys or [sql.SQL("{}::text").format(hashed)]),
        hashed=hashed,
        table=sql.Identifier("public", table),
        where=_range(table, integer_key, lo, hi),
    )
    return [(tuple(row[:-1]), row[-1]) for row in session.rows(query)]


def hash_condition(session: Session, table: str, columns: Sequence[str]) -> sql.Composed:
    """Return the expression whose value is the key of a row without one, for a query."""
    return sql.SQL("{}::text").format(_hashed(session, table, columns, _types(session, table)[0]))


def _types(session: Session, table: str) -> tuple[dict[str, int], str | None]:
    """Return the type of each column, and the key where it is an integer."""
    types: dict[str, int] = {}
    key: str | None = None
    for name, type_oid, is_key in session.rows(_TYPES, {"table": table}):
        types[name] = type_oid
        if is_key and type_oid in _INTEGERS:
            key = name
    return types, key


def _hashed(
    session: Session, table: str, columns: Sequence[str], types: Mapping[str, int]
) -> sql.Composed:
    if missing := [column for column in columns if column not in types]:
        raise StatementError(f"table {table} has no column {missing[0]}", where=table)
    values = sql.SQL(", ").join(_value(column, types[column]) for column in columns)
    has_record_hash = session.server_version >= _FIRST_WITH_RECORD_HASH
    return (_SUM_OF_RECORDS if has_record_hash else _SUM_OF_TEXTS).format(values=values)


def _value(column: str, type_oid: int) -> sql.Composed:
    """Return a column as it is hashed; strings by their bytes, whatever their collation says."""
    name = sql.Identifier("t", column)
    if type_oid in _HASHED_AS_THEY_ARE:
        return sql.Composed([name])
    if type_oid in _STRINGS:
        return sql.SQL('{} COLLATE "C"').format(name)
    if type_oid == _BPCHAR:
        # Its hash, and its cast to text, forget the blanks at the end.
        return sql.SQL("bpcharsend({})").format(name)
    return sql.SQL('{}::text COLLATE "C"').format(name)


def _range(table: str, key: str | None, lo: int | None, hi: int | None) -> sql.Composable:
    if lo is None and hi is None:
        return sql.SQL("")
    if key is None:
        raise StatementError(f"table {table} has no integer primary key", where=table)
    name = sql.Identifier("t", key)
    bounds: list[sql.Composable] = []
    if lo is not None:
        bounds.append(sql.SQL("{} >= {}").format(name, sql.Literal(lo)))
    if hi is not None:
        bounds.append(sql.SQL("{} < {}").format(name, sql.Literal(hi)))
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(bounds)
