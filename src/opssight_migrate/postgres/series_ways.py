"""Which way a table becomes a hypertable, by its rows, the extension's version and its licence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from opssight_migrate.opssight import rates
from opssight_migrate.postgres.timescale import Offer

CutOver = Literal["auto", "atomic", "write-available"]
_NOTICED_S = 0.05


class Way(StrEnum):
    """How. COPY moves every row under the table's strong lock; ATTACH moves none.

    Before attach_chunk there was create_chunk with a table: it gave that table the hypertable's
    keys over again, which is refused for a primary key, and builds an index under the lock.
    """

    EMPTY = "empty"
    COPY = "copy"
    ATTACH = "attach"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A way, why it is taken, and for how long the strong lock may be held, and is likely to be.

    ``write_available``: nobody waits for the scan that TimescaleDB makes of a table it adopts, and
    meanwhile reads see the newer rows only.
    """

    way: Way
    why: str
    held_s: float
    locked_s: float = 0.0
    write_available: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the conversion may cost others. ``window_s``: the operator's --window, or None."""

    stall_s: float
    window_s: float | None
    cut_over: CutOver


def choose(offer: Offer, rows: int, grants: Grants, *, is_bound: bool = False) -> Choice:
    """Choose a way for ``rows`` rows.

    ``is_bound``: a trigger or a foreign key of others stands on the table, so that its rows may
    not come twice.
    """
    stall_s, window_s = grants.stall_s, grants.window_s
    if rows == 0:
        return Choice(way=Way.EMPTY, why="it is empty", held_s=stall_s)
    copied_s = rows / rates.COPIED_ROWS_PER_S
    if copied_s <= stall_s / 2:
        why = f"its rows are moved in about {copied_s * 1000:,.0f} ms, within stall_budget"
        return Choice(way=Way.COPY, why=why, held_s=stall_s, locked_s=_NOTICED_S + copied_s)
    if offer.attaches:
        return _attached(rows, grants, is_bound=is_bound)
    needed = f"about {copied_s:,.0f} s under a lock that stops everybody"
    if window_s is None:
        why = f"{offer.named} cannot adopt a table: its rows would have to be moved, {needed}"
        return Choice(way=Way.REFUSED, why=why, held_s=0.0)
    why = f"its rows are moved within the window that you grant: {needed}"
    return Choice(way=Way.COPY, why=why, held_s=window_s, locked_s=window_s)


def going_on(*, stall_s: float) -> Choice:
    """Return the way of a table that was put aside already: it is attached."""
    return Choice(way=Way.ATTACH, why="it goes on from where it stopped", held_s=stall_s)


def _attached(rows: int, grants: Grants, *, is_bound: bool) -> Choice:
    scan_s = rows / rates.SCANNED_ROWS_PER_S
    scan = f"TimescaleDB scans it for about {scan_s * 1000:,.0f} ms"
    noticed_s = {"auto": min(_NOTICED_S, grants.stall_s), "write-available": 0.0}
    if not is_bound and scan_s > noticed_s.get(grants.cut_over, scan_s):
        return Choice(
            way=Way.ATTACH,
            why=f"it becomes a chunk as it is; {scan}, for which nobody waits: reads see only rows"
            " written since until that is over (time_series.cut_over)",
            held_s=grants.stall_s,
            locked_s=_NOTICED_S,
            write_available=True,
        )
    why = f"it becomes a chunk as it is, in one transaction; {scan}, and everybody waits for it"
    if is_bound:
        why += ", since a trigger or a foreign key of others stands on it"
    if scan_s > grants.stall_s and grants.window_s is None:
        return Choice(way=Way.REFUSED, why=f"{why}: longer than stall_budget", held_s=0.0)
    held_s = max(grants.stall_s, grants.window_s or 0.0)
    return Choice(way=Way.ATTACH, why=why, held_s=held_s, locked_s=_NOTICED_S + scan_s)
