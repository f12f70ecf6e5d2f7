"""From a table to a hypertable: what is in the way, which way is taken, and its taking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opssight_migrate.model.errors import LockBudgetError, StatementError
from opssight_migrate.opssight import rates
from opssight_migrate.postgres import (
    adoption,
    carried,
    catalog,
    hypertables,
    references,
    series_obstacles,
    series_ways,
    sizes,
    timescale,
)
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.hypertables import Series
from opssight_migrate.postgres.locks import Door, Mode, Wanted
from opssight_migrate.postgres.series_obstacles import Hindrance
from opssight_migrate.postgres.series_ways import Choice, Grants, Way
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer

_QUERY_CANCELED = "57014"
_WINDOW = "opssight-migrate migrate --window DURATION grants a longer time"
# An integer, padded, and a time.
_WIDE_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a conversion would meet, and how it would go.

    ``others`` are the tables that its foreign keys point at, ``inbound`` those of which one points
    at it: both are locked too.
    """

    choice: Choice
    hindrances: tuple[Hindrance, ...]
    rows: int
    others: tuple[str, ...] = ()
    inbound: tuple[str, ...] = ()

    @property
    def stops(self) -> tuple[Hindrance, ...]:
        """What somebody has to decide on first."""
        return tuple(one for one in self.hindrances if one.stops)

    @property
    def reference_s(self) -> float:
        """How long it takes at the reference rates, with the index of the new key."""
        if self.choice.way is Way.COPY:
            return self.rows / rates.COPIED_ROWS_PER_S
        return self.rows / rates.INDEX_ROWS_PER_S + self.rows / rates.SCANNED_ROWS_PER_S

    @property
    def wal_bytes(self) -> int:
        """What it writes to the WAL: copied rows, or no more than the index of the new key."""
        if self.choice.way is Way.COPY:
            return self.rows * rates.COPIED_ROW_WAL_BYTES
        return self.rows * (rates.INDEX_ENTRY_BYTES + _WIDE_KEY_BYTES)


def look(session: Session, offer: Offer, series: Series, grants: Grants) -> Outlook:
    """Say what is in the way of a table, and which way it would go. Reads only."""
    table = series.table
    if timescale.is_hypertable(session, table):
        choice = series_ways.going_on(stall_s=grants.stall_s)
        return Outlook(choice=choice, hindrances=(), rows=0)
    rows = 0
    if catalog.relation_exists(session, table) and not catalog.table_is_empty(session, table):
        # Statistics may not know yet of rows that are there.
        rows = sizes.rows(session, table) or catalog.rows_exact(session, table)
    bound = carried.of(carried.pieces(session, table), carried.INBOUND, carried.TRIGGER)
    choice = series_ways.choose(offer, rows, grants, is_bound=bool(bound))
    keeps_table = choice.way is not Way.ATTACH
    hindrances = series_obstacles.of(
        session, table, series.time, keeps_table=keeps_table, compresses=offer.compresses
    )
    return Outlook(
        choice=choice,
        hindrances=hindrances,
        rows=rows,
        others=references.tables_of(session, table),
        inbound=adoption.inbound_tables(session, table),
    )


def convert(ddl: Ddl, door_for: Callable[[float], Door], series: Series, choice: Choice) -> None:
    """Make the table a hypertable the chosen way, or go on where another one died.

    ``door_for`` gives a door behind which nobody may have to wait longer than so many seconds.

    Raises: LockBudgetError where the time that was granted is, or was, too short.
    """
    if choice.way is Way.REFUSED:
        raise LockBudgetError(f"{series.table}: {choice.why}", where=series.table, hint=_WINDOW)
    if choice.way is Way.ATTACH:
        ddl.door = door_for(choice.held_s)
        adoption.adopt(ddl, series, choice)
        return
    session, table = ddl.session, series.table

    def work() -> None:
        session.execute(
            "SELECT set_config('statement_timeout', %s, true)", (f"{choice.held_s * 1000:.0f}ms",)
        )
        before = carried.pieces(session, table)
        carried.let_go(session, carried.of(before, carried.INBOUND))
        carried.drop_triggers(session, table, before)
        hypertables.widen_key(session, series)
        hypertables.make(session, series, moves_rows=not catalog.table_is_empty(session, table))
        carried.carry(session, table, carried.of(before, carried.INBOUND, carried.TRIGGER))
        adoption.prove(session, table, carried.but(before, carried.FOREIGN_KEY))

    # A chunk gets the foreign keys of its hypertable.
    others = references.tables_of(session, table) if choice.way is Way.COPY else ()
    wanted = (
        *(Wanted(name, Mode.SHARE_ROW_EXCLUSIVE) for name in others),
        Wanted(table),
        *(Wanted(name) for name in adoption.inbound_tables(session, table)),
    )
    try:
        door_for(choice.held_s).through(wanted, work)
    except StatementError as error:
        if error.sqlstate != _QUERY_CANCELED:
            raise
        raise LockBudgetError(
            f"the rows of {table} could not be moved within {choice.held_s:,.1f} s",
            where=table,
            hint=_WINDOW,
        ) from error
    adoption.validate_inbound(ddl, series)


def is_whole(session: Session, table: str) -> bool:
    """Tell whether nothing of a conversion is left: keys made and validated, nothing aside."""
    if not timescale.is_hypertable(session, table):
        return False
    if hypertables.waits_aside(session, table):
        return False
    return not adoption.is_unfinished(session, table)
