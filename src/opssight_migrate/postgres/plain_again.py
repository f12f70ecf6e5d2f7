"""A hypertable becomes the plain table that it was, with every row, also those written since.

A chunk that was the table itself is detached and takes its place again: catalogue writes. What is
in other chunks is copied back in small batches afterwards; where there is no such chunk, because
the rows were moved into chunks or it was split or compressed meanwhile, all of it is. Each piece
looks first: the same call goes on from wherever another one died.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.postgres import (
    adoption,
    carried,
    catalog,
    hypertables,
    references,
    sizes,
    timescale,
)
from opssight_migrate.postgres.carried import Piece
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.hypertables import ASIDE, Chunk, Series
from opssight_migrate.postgres.locks import Mode, Wanted
from opssight_migrate.postgres.session import Session

REST = "opssight_series_rest"
"""Where a hypertable waits until the rows that it still holds are copied back."""

_BATCH_ROWS = 2_000
_THERE = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
_MOVED = "ALTER TABLE {table} SET SCHEMA {schema}"
_COPIED = """
WITH batch AS (
    SELECT {columns} FROM {rest} WHERE {time} >= %(start)s::timestamptz
       AND {time} < %(end)s::timestamptz
       AND (%(id)s::int8 IS NULL OR ({time}, id) > (%(after)s::timestamptz, %(id)s::int8))
     ORDER BY {time}, id LIMIT %(limit)s
), copied AS (
    INSERT INTO {table} ({columns}) SELECT {columns} FROM batch ON CONFLICT DO NOTHING
)
SELECT {time}, id FROM batch ORDER BY {time} DESC, id DESC LIMIT 1
"""
_REPEATED = """
SELECT id FROM {table} GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 5
"""
_NARROW_KEY = "{}_pkey_of_id"


def stands(session: Session, table: str) -> bool:
    """Tell whether there is something to make plain again."""
    if timescale.is_hypertable(session, table):
        return True
    return any(session.scalar(_THERE, (schema, table)) for schema in (ASIDE, REST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How a table would become plain again: by its own chunk, or by a copy of ``rows`` rows.

    With its own chunk ``rows`` are only those of other chunks. They are guessed from statistics.
    ``others`` are the tables that its foreign keys point at: with the hypertable a key of theirs
    goes, which nobody may read them meanwhile for.
    """

    is_detached: bool
    rows: int
    others: tuple[str, ...] = ()


def outlook(session: Session, table: str) -> Outlook:
    """Say how a table would become plain again. Reads only."""
    if not timescale.is_hypertable(session, table):
        return Outlook(is_detached=False, rows=0)
    back = _back(session, table)
    count = timescale.function(session, "approximate_row_count")
    query = sql.SQL("SELECT {}({})").format(count, sql.Literal(f"public.{table}"))
    rows = int(session.scalar(query) or 0)
    if back is not None:
        rows -= sizes.rows(session, back.name, back.schema)
    others = tuple(wanted.table for wanted in _pointed_at(session, table))
    return Outlook(is_detached=back is not None, rows=max(rows, 0), others=others)


def restore(ddl: Ddl, series: Series) -> None:
    """Make the table plain again, with its key (id).

    Raises: StepFailedError where an id stands in more than one row: TimescaleDB allows that, and
    the old key does not.
    """
    session, table = ddl.session, series.table
    if timescale.is_hypertable(session, table):
        _refuse_repeated(session, series)
        back = _back(session, table)
        for schema in (ASIDE, REST):
            session.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
                    sql.Identifier(schema), sql.Identifier(str(catalog.owner_of(session, "users")))
                )
            )
        others = adoption.inbound_tables(session, table)
        # A chunk that is detached lets go of its foreign keys.
        let_go = _pointed_at(session, table) if back is not None else ()
        wanted = (*let_go, Wanted(table), *map(Wanted, others))
        ddl.transaction(f"PLAIN TABLE {table}", wanted, lambda: _replace(ddl, series, back))
    if session.scalar(_THERE, (REST, table)):
        for key in _keys(session, table):
            ddl.remade(table, key)
        _copy_rest(ddl, series)
    _narrow_key(ddl, series)
    adoption.validate_inbound(ddl, series)
    _clear(session)


def _back(session: Session, table: str) -> Chunk | None:
    """Return the chunk that can be the table again: adopted, whole and uncompressed."""
    chunk = hypertables.adopted(session, table)
    if chunk is None or chunk.compressed or not timescale.offered(session).attaches:
        return None
    return chunk


def _pointed_at(session: Session, table: str, schema: str = "public") -> tuple[Wanted, ...]:
    """Return the locks that it takes to drop a foreign key of the table."""
    return tuple(map(Wanted, references.tables_of(session, table, schema)))


def _keys(session: Session, table: str) -> tuple[references.ForeignKey, ...]:
    return references.of_table(session, table, REST)


def _refuse_repeated(session: Session, series: Series) -> None:
    query = sql.SQL(_REPEATED).format(table=series.place)
    if repeated := [str(key) for (key,) in session.rows(query)]:
        raise StepFailedError(
            f"{series.table} has more than one row with id {', '.join(repeated)}: as a plain table"
            " it cannot",
            where=f"{series.table}.id",
            hint=f"give each of them an id of its own, from {series.table}_id_seq",
        )


def _replace(ddl: Ddl, series: Series, back: Chunk | None) -> None:
    """Put the plain table in the place of the hypertable, with all that hangs on that one."""
    session, table = ddl.session, series.table
    before = carried.pieces(session, table)
    if back is not None or hypertables.waits_aside(session, table):
        if back is not None:
            detach = timescale.function(session, "detach_chunk")
            chunk = sql.Literal(f'{ASIDE}."{table}"')
            session.execute(sql.SQL("CALL {}({})").format(detach, chunk))
        _let_go(session, table, before)
        aside = sql.Identifier(ASIDE, table)
        session.execute(sql.SQL(_MOVED).format(table=aside, schema=sql.Identifier("public")))
        _drop_copied_keys(session, table)
        _name_indexes(session, table, before)
        carried.drop_triggers(session, table, carried.pieces(session, table))
    else:
        _let_go(session, table, before)
        session.execute(
            sql.SQL(
                "CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)"
            ).format(series.place, sql.Identifier(REST, table))
        )
        hypertables.add_key(session, series)
        carried.revoke_unasked(session, table, before)
    # Triggers would see the rows again that are copied back: they come at the end.
    now = carried.but(before, carried.FOREIGN_KEY, carried.TRIGGER)
    carried.carry(session, table, now)
    adoption.prove(session, table, now)


def _let_go(session: Session, table: str, before: tuple[Piece, ...]) -> None:
    carried.let_go(session, before)
    place = sql.Identifier("public", table)
    session.execute(sql.SQL(_MOVED).format(table=place, schema=sql.Identifier(REST)))


def _drop_copied_keys(session: Session, table: str) -> None:
    """Drop the copies of foreign keys that TimescaleDB numbered and gave to its chunk."""
    for key in references.of_table(session, table):
        if key.name[0].isdigit():
            session.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                    sql.Identifier("public", table), sql.Identifier(key.name)
                )
            )


def _name_indexes(session: Session, table: str, before: tuple[Piece, ...]) -> None:
    """Give indexes that were made on the hypertable their names: a chunk's have others."""
    there = carried.of(carried.pieces(session, table), "index")
    strangers = {_shape(one): one.name for one in there if one not in before}
    for piece in carried.of(before, "index"):
        if piece not in there and _shape(piece) in strangers:
            session.execute(
                sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                    sql.Identifier("public", strangers.pop(_shape(piece))),
                    sql.Identifier(piece.name),
                )
            )


def _shape(index: Piece) -> tuple[bool, str]:
    statement = str(index.statement)
    return statement.startswith("CREATE UNIQUE"), statement.partition(" ON ")[2]


def _copy_rest(ddl: Ddl, series: Series) -> None:
    """Copy what the hypertable still holds, chunk by chunk; a chunk that is copied is dropped."""
    session, table = ddl.session, series.table
    names = {
        "columns": adoption.writable_columns(session, table),
        "rest": sql.Identifier(REST, table),
        "table": series.place,
        "time": sql.Identifier(series.time),
    }
    copy = sql.SQL(_COPIED).format(**names)
    for chunk in hypertables.chunks(session, table, REST):
        _decompress(ddl, chunk)
        _Copying(ddl.pace, session, copy, chunk).all()
        _drop(ddl, table, chunk)

    def gone() -> None:
        carried.carry(session, table, carried.triggers_of(session, table, REST))
        session.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(REST, table)))

    wanted = (Wanted(table, Mode.SHARE_ROW_EXCLUSIVE), *_pointed_at(session, table, REST))
    ddl.transaction(f"DROP {REST}.{table}", wanted, gone)


def _drop(ddl: Ddl, table: str, chunk: Chunk) -> None:
    """Drop a chunk that is copied; the foreign keys go with it that it has of its hypertable."""
    statement = sql.SQL("SELECT {}({}, older_than => {}::timestamptz)").format(
        timescale.function(ddl.session, "drop_chunks"),
        sql.Literal(f'{REST}."{table}"'),
        sql.Literal(chunk.end),
    )
    wanted = _pointed_at(ddl.session, table, REST)
    ddl.transaction(f"DROP {chunk.schema}.{chunk.name}", wanted, lambda: ddl.run(statement))


def _decompress(ddl: Ddl, chunk: Chunk) -> None:
    """Make rows of a compressed chunk's segments: each batch would unpack all that follow it."""
    if chunk.compressed:
        ddl.pace()
        call = sql.SQL("SELECT {}({})").format(
            timescale.function(ddl.session, "decompress_chunk"),
            sql.Literal(f'{chunk.schema}."{chunk.name}"'),
        )
        ddl.session.execute(call)


@dataclass(frozen=True, slots=True)
class _Copying:
    pace: Callable[[], None]
    session: Session
    copy: sql.Composed
    chunk: Chunk

    def all(self) -> None:
        """Copy one chunk by keyset; a row that was copied before is passed over."""
        last: tuple[object, object] = (None, None)
        while True:
            self.pace()
            parameters = {
                "start": self.chunk.start,
                "end": self.chunk.end,
                "after": last[0],
                "id": last[1],
                "limit": _BATCH_ROWS,
            }
            with self.session.writing():
                row = self.session.row(self.copy, parameters)
            if row is None:
                return
            last = (row[0], row[1])


def _narrow_key(ddl: Ddl, series: Series) -> None:
    """Make the key (id) again: its index is built while everybody works on."""
    session, table = ddl.session, series.table
    if hypertables.key_columns(session, table) == ("id",):
        return
    narrow = _NARROW_KEY.format(table)
    ddl.index(narrow, table, ("id",), unique=True)

    def swap() -> None:
        # A foreign key to (id, timestamp) may have been bound to the primary key's index.
        others = carried.of(carried.pieces(session, table), carried.INBOUND)
        carried.let_go(session, others)
        session.execute(
            sql.SQL(
                "ALTER TABLE {table} DROP CONSTRAINT {key},"
                " ADD CONSTRAINT {key} PRIMARY KEY USING INDEX {narrow}"
            ).format(
                table=series.place,
                key=sql.Identifier(series.key),
                narrow=sql.Identifier(narrow),
            )
        )
        carried.carry(session, table, others)

    wanted = (Wanted(table), *map(Wanted, adoption.inbound_tables(session, table)))
    ddl.transaction(f"PRIMARY KEY {table}", wanted, swap)


def _clear(session: Session) -> None:
    """Drop the schemas aside once nothing is in them."""
    for schema in (ASIDE, REST):
        empty = session.scalar(
            "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%s))",
            (schema,),
        )
        if empty:
            session.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(sql.Identifier(schema)))
