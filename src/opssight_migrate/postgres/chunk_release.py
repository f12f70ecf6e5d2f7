"""An adopted chunk after ``cleanup``: compressed, split into chunks of the usual length, let go.

While it is the whole table, a rollback makes it that table again by a catalogue write; this gives
that up. ``split_chunk`` rewrites what it splits under ACCESS EXCLUSIVE. So a chunk that is old
enough is compressed first: readers read on meanwhile, writers of its rows give it their turn, and
what is to be rewritten afterwards is a thousandth of the rows. Each piece looks first: the same
call goes on from wherever another one died.

Source: TimescaleDB, tsl/src/chunk_split.c and compress_chunk_impl in tsl/src/compression/api.c.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from psycopg import sql

from opssight_migrate.model.errors import LockBudgetError
from opssight_migrate.model.events import StatementStarted
from opssight_migrate.postgres import hypertables, references, sizes, timescale
from opssight_migrate.postgres.hypertables import ASIDE, Chunk, Series
from opssight_migrate.postgres.locks import Door, Mode, Wanted
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer

_BOUNDS = """
SELECT (EXTRACT(epoch FROM range_start) * 1000000)::int8,
       (EXTRACT(epoch FROM range_end) * 1000000)::int8
  FROM timescaledb_information.chunks WHERE chunk_schema = %s AND chunk_name = %s
"""
# One reading of all there is, compressed or not: an interval without a row needs no chunk.
_BEGINNINGS = """
SELECT DISTINCT (EXTRACT(epoch FROM date_bin({interval}, {time}, 'epoch')) * 1000000)::int8
  FROM {table} WHERE {time} >= {start}::timestamptz AND {time} < {end}::timestamptz ORDER BY 1
"""
_SPLIT = "CALL {split}({chunk}, split_at => timestamptz 'epoch' + {at} * interval '1 microsecond')"
_OLD_AT = "SELECT %(end)s::timestamptz + %(after)s::interval"
_COUNTED = "SELECT count(*) FROM {}"
_RENAMED = "ALTER TABLE {chunk} RENAME TO {name}"
# Where somebody reads the chunk at that moment, it cannot be truncated: then its rows are deleted.
_DELETES = "SELECT set_config('timescaledb.enable_delete_after_compression', 'on', true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is to be done with the adopted chunk of a table.

    ``compress_after`` None: it is not compressed, by its settings or its licence. ``window_s`` is
    for how long all its splits together may stop everybody; None: the door's stall budget.
    """

    series: Series
    offer: Offer
    compress_after: timedelta | None
    window_s: float | None = None


def name_of(table: str) -> str:
    """Return what the chunk is called once it is let go."""
    return f"{table}_first"


def pieces(session: Session, table: str) -> tuple[Chunk, ...]:
    """Return the chunks that the table was, oldest first."""
    return tuple(chunk for chunk in hypertables.chunks(session, table) if chunk.schema == ASIDE)


def rows(session: Session, chunk: Chunk) -> int:
    """Return how many rows a chunk has: by statistics, or counted where there are none."""
    guessed = sizes.rows(session, chunk.name, chunk.schema)
    counted = sql.SQL(_COUNTED).format(sql.Identifier(chunk.schema, chunk.name))
    return guessed or int(session.scalar(counted))


def intervals(session: Session, chunk: Chunk, interval: timedelta) -> int:
    """Return how many chunks of the usual length would cover a chunk."""
    start, end = session.rows(_BOUNDS, (chunk.schema, chunk.name))[0]
    width = round(interval.total_seconds() * 1_000_000)
    return int((end - 1) // width - start // width + 1)


def old_at(session: Session, chunk: Chunk, after: timedelta) -> datetime:
    """Return when a chunk has the age at which it is compressed."""
    return cast("datetime", session.scalar(_OLD_AT, {"end": chunk.end, "after": after}))


def is_old(session: Session, chunk: Chunk, after: timedelta | None) -> bool:
    """Tell whether a chunk has the age at which it is compressed; None is never."""
    return after is not None and old_at(session, chunk, after) <= datetime.now(UTC)


def carry_out(session: Session, door: Door, release: Release, pace: Callable[[], None]) -> None:
    """Compress, split and let go; ``pace`` is called before each piece, and may wait or raise.

    Raises: LockBudgetError where the window is over before the last split.
    """
    adopted = hypertables.adopted(session, release.series.table)
    if adopted is None:
        return
    work = _Work(session, door, release, pace)
    if is_old(session, adopted, release.compress_after):
        work.compress(adopted)
    if release.offer.splits:
        work.split()
    for chunk in pieces(session, release.series.table):
        if is_old(session, chunk, release.compress_after):
            work.compress(chunk)
    work.let_go()


class _Work:
    """The pieces, each in a transaction of its own through the door."""

    def __init__(
        self, session: Session, door: Door, release: Release, pace: Callable[[], None]
    ) -> None:
        self.session = session
        self.door = door
        self.release = release
        self.pace = pace
        self.table = release.series.table
        self.ends_at = time.monotonic() + (release.window_s or 0.0)

    def compress(self, chunk: Chunk) -> None:
        """Compress one chunk, unless it is; only who writes to it waits."""
        if chunk.compressed:
            return
        by = ("CALL {}({})", "convert_to_columnstore")
        if not self.release.offer.has_columnstore:
            by = ("SELECT {}({})", "compress_chunk")
        statement = sql.SQL(by[0]).format(timescale.function(self.session, by[1]), _literal(chunk))
        tries = 0

        def work() -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                self.session.execute(_DELETES)
            self.session.execute(statement)

        wanted = (Wanted(chunk.name, Mode.EXCLUSIVE, schema=ASIDE),)
        self._through(f"COMPRESS {ASIDE}.{chunk.name}", wanted, work)

    def split(self) -> None:
        """Split until no chunk holds rows of two intervals; always in the middle."""
        beginnings = self._beginnings()
        others = references.tables_of(self.session, self.table)
        while cut := self._next_cut(beginnings):
            chunk, at = cut
            statement = sql.SQL(_SPLIT).format(
                split=timescale.function(self.session, "split_chunk"),
                chunk=_literal(chunk),
                at=sql.Literal(at),
            )
            # A new chunk gets the foreign keys of its hypertable.
            wanted = (
                *(Wanted(other, Mode.SHARE_ROW_EXCLUSIVE) for other in others),
                Wanted(self.table, Mode.SHARE_UPDATE_EXCLUSIVE),
                Wanted(chunk.name, schema=ASIDE),
            )
            self._through(f"SPLIT {ASIDE}.{chunk.name}", wanted, _Bounded(self, statement))

    def let_go(self) -> None:
        """Take the table's name from the chunk: by that it was known as adopted."""
        statement = sql.SQL(_RENAMED).format(
            chunk=sql.Identifier(ASIDE, self.table), name=sql.Identifier(name_of(self.table))
        )
        wanted = (Wanted(self.table, schema=ASIDE),)
        self._through(f"RENAME {ASIDE}.{self.table}", wanted, _Bounded(self, statement))

    def _through(self, what: str, wanted: tuple[Wanted, ...], work: Callable[[], None]) -> None:
        self.pace()
        self.door.emit(StatementStarted(step_id=self.door.step_id, what=what))
        self.door.through(wanted, work)

    def bound(self) -> None:
        """Let no statement of this transaction last longer than what is left of the window."""
        if self.release.window_s is None:
            return
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise LockBudgetError(
                f"the window of {self.release.window_s:,.0f} s is over, and {ASIDE}.{self.table}"
                " is not split yet",
                where=f"{ASIDE}.{self.table}",
                hint="opssight-migrate cleanup --chunks --window DURATION goes on from here",
            )
        timeout = f"{left_s * 1000:.0f}ms"
        self.session.execute("SELECT set_config('statement_timeout', %s, true)", (timeout,))

    def _beginnings(self) -> list[int]:
        found = pieces(self.session, self.table)
        query = sql.SQL(_BEGINNINGS).format(
            interval=sql.Literal(self.release.series.chunk_interval),
            time=sql.Identifier(self.release.series.time),
            table=self.release.series.place,
            start=sql.Literal(found[0].start),
            end=sql.Literal(found[-1].end),
        )
        return [int(at) for (at,) in self.session.rows(query)]

    def _next_cut(self, beginnings: list[int]) -> tuple[Chunk, int] | None:
        for chunk in pieces(self.session, self.table):
            start, end = self.session.rows(_BOUNDS, (chunk.schema, chunk.name))[0]
            # The last microsecond alone makes no chunk: split_chunk refuses it.
            inside = [at for at in beginnings if start < at <= end - 2]
            if inside:
                return chunk, inside[len(inside) // 2]
        return None


@dataclass(frozen=True, slots=True)
class _Bounded:
    work: _Work
    statement: sql.Composed

    def __call__(self) -> None:
        self.work.bound()
        self.work.session.execute(self.statement)


def _literal(chunk: Chunk) -> sql.Literal:
    return sql.Literal(f'{ASIDE}."{chunk.name}"')
