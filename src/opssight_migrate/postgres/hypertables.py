"""Hypertables and their chunks: made, looked at, put aside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from opssight_migrate.postgres import catalog, timescale
from opssight_migrate.postgres.session import Session

ASIDE = "opssight_series"
"""Where an adopted table lives as a chunk: under its own name, with its indexes."""

SERIES: tuple[tuple[str, str], ...] = (("metrics", "timestamp"), ("log_entries", "timestamp"))
"""The tables of OpsSight that are series of time, each with its time column."""

_CHUNKS = """
SELECT chunk_schema::text, chunk_name::text, range_start::text, range_end::text, is_compressed
  FROM timescaledb_information.chunks
 WHERE hypertable_schema = %(schema)s AND hypertable_name = %(table)s ORDER BY range_start
"""
_RELATION = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
_KEY = "ALTER TABLE {table} ADD CONSTRAINT {key} PRIMARY KEY (id, {time})"
_SWAPPED_KEY = "ALTER TABLE {table} DROP CONSTRAINT {key}, ADD CONSTRAINT {key} PRIMARY KEY {by}"
_MADE = (
    "SELECT {create}({table}, {time}, create_default_indexes => false,"
    " chunk_time_interval => {interval}, migrate_data => {moves})"
)
_COLUMNS_OF_KEY = """
SELECT ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number
              ORDER BY u.place)
  FROM pg_constraint AS k
 WHERE k.contype = 'p' AND k.conrelid = to_regclass('public.' || quote_ident(%s))
"""


def why_plain(session: Session, engine: str) -> str | None:
    """Say why the series must be ordinary tables here; None where they need not be."""
    offer = timescale.left_out(session, engine)
    names = " and ".join(table for table, _ in SERIES)
    return None if offer is None else f"{offer.reason}: {names} are ordinary tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A table that is, or becomes, a hypertable: its name, time column and chunk interval."""

    table: str
    time: str
    chunk_interval: timedelta

    @property
    def place(self) -> sql.Identifier:
        """The table in ``public``."""
        return sql.Identifier("public", self.table)

    @property
    def key(self) -> str:
        """The name of its primary key."""
        return f"{self.table}_pkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk; its range is half open, as text, since it may be infinite."""

    schema: str
    name: str
    start: str
    end: str
    compressed: bool


def chunks(session: Session, table: str, schema: str = "public") -> tuple[Chunk, ...]:
    """Return the chunks of a hypertable, oldest first."""
    return tuple(
        Chunk(schema=where, name=name, start=start, end=end, compressed=bool(compressed))
        for where, name, start, end, compressed in session.rows(
            _CHUNKS, {"schema": schema, "table": table}
        )
    )


def adopted(session: Session, table: str) -> Chunk | None:
    """Return the chunk that was the table itself, or None where there is none (any more)."""
    if not timescale.is_hypertable(session, table):
        return None
    for chunk in chunks(session, table):
        if (chunk.schema, chunk.name) == (ASIDE, table):
            return chunk
    return None


def some_adopted(session: Session) -> bool:
    """Tell whether a chunk that was a table itself is still whole, or on its way to pieces."""
    return any(adopted(session, table) is not None for table, _ in SERIES)


def waits_aside(session: Session, table: str) -> bool:
    """Tell whether the table's rows were put aside and are not a chunk yet: a cut-over died."""
    there = bool(session.scalar(_RELATION, (ASIDE, table)))
    return there and adopted(session, table) is None


def key_columns(session: Session, table: str) -> tuple[str, ...]:
    """Return the columns of a table's primary key; empty without one."""
    return tuple(session.scalar(_COLUMNS_OF_KEY, (table,)) or ())


def widen_key(session: Session, series: Series) -> None:
    """Take the time column into the primary key, in the caller's transaction.

    A unique index of a hypertable must hold the time column. Where the index was built before,
    the swap is a catalogue write.
    """
    if series.time in key_columns(session, series.table):
        return
    built = catalog.index_state(session, wide_key(series))
    by = sql.SQL("(id, {})").format(sql.Identifier(series.time))
    if built is not None and built.valid:
        by = sql.SQL("USING INDEX {}").format(sql.Identifier(wide_key(series)))
    session.execute(
        sql.SQL(_SWAPPED_KEY).format(table=series.place, key=sql.Identifier(series.key), by=by)
    )


def wide_key(series: Series) -> str:
    """Name the index that becomes the primary key (id, timestamp)."""
    return f"{series.table}_pkey_with_time"


def add_key(session: Session, series: Series) -> None:
    """Give a table without one the primary key of a hypertable."""
    names = {"key": sql.Identifier(series.key), "time": sql.Identifier(series.time)}
    session.execute(sql.SQL(_KEY).format(table=series.place, **names))


def make(session: Session, series: Series, *, moves_rows: bool = False) -> None:
    """Turn a table into a hypertable, in the caller's transaction; its key holds the time column.

    ``moves_rows`` copies what the table holds into chunks, under its strong lock.
    """
    session.execute(
        sql.SQL(_MADE).format(
            create=timescale.function(session, "create_hypertable"),
            table=sql.Literal(f"public.{series.table}"),
            time=sql.Literal(series.time),
            interval=sql.Literal(series.chunk_interval),
            moves=sql.Literal(moves_rows),
        )
    )
