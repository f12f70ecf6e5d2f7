"""The proof: every table digested before and after, over the columns that it had before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opssight_migrate.model.events import Emit, ProofStarted, TableCompared
from opssight_migrate.model.report import Proof
from opssight_migrate.postgres import digest, ranges, snapshots
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.snapshots import Snapshot

# Tables that steps write rows into: their digest is meant to change. Roles, permissions
# and grants are only ever seeded into empty tables.
WRITTEN_BY_STEPS = frozenset({"audit_configurations", "audit_logs", "organizations", "user_roles"})
_SEEDED_WHEN_EMPTY = frozenset({"permissions", "role_permissions", "roles"})
# The column that settle-organizations fills where it was nullable.
_FILLED = "organization_id"
# A session that has gone idle publishes its counters after ten seconds at the latest.
# Source: PostgreSQL 15, src/backend/utils/activity/pgstat.c, PGSTAT_IDLE_INTERVAL.
_STATISTICS_S = 11.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the comparison says. ``lost`` are tables that differ though nobody else wrote there."""

    proof: Proof
    lost: tuple[str, ...]


def take(
    session: Session,
    journal: Journal,
    emit: Emit,
    chosen: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Snapshot, ...]:
    """Return what was before: of the run that this one resumes, else taken and kept now.

    ``chosen`` are the columns to compare, by table; None: all that no step writes.
    """
    if before := snapshots.first_of(session, journal.lineage):
        return before
    with session.reading():
        writes = snapshots.writes_by_table(session)
        columns = _unwritten(session) if chosen is None else chosen
        deletes = snapshots.deletes_by_table(session)
        taken: list[Snapshot] = []
        for table, names in columns.items():
            one, parts = ranges.digest_and_ranges(session, table, names)
            emit(TableCompared(phase="before", table=table, rows=one.rows, equal=None))
            if one.rows or table not in _SEEDED_WHEN_EMPTY:
                taken.append(
                    Snapshot(
                        run_id=journal.run_id,
                        table=table,
                        columns=tuple(names),
                        rows=one.rows,
                        digest=one.value,
                        writes=writes.get(table, 0),
                        deletes=deletes.get(table, 0),
                        ranges=parts,
                    )
                )
    snapshots.keep(session, journal.run_id, taken)
    return tuple(taken)


def _unwritten(session: Session) -> dict[str, list[str]]:
    return {
        table: [name for name in names if name != _FILLED]
        for table, names in digest.columns_by_table(session).items()
        if table not in WRITTEN_BY_STEPS
    }


def compare(
    session: Session, before: Sequence[Snapshot], emit: Emit, *, resumed: bool = False
) -> Verdict:
    """Digest the same columns again and say, table by table, what is equal.

    A table that differs and was written by somebody else meanwhile is said to be not comparable;
    one that differs and was not is lost or altered rows. ``resumed``: the snapshot is that of a run
    which was broken off, and what its last transaction wrote cannot be told from what others did.
    """
    emit(ProofStarted(tables=len(before)))
    differing: list[Snapshot] = []
    with session.reading():
        for one in before:
            now = digest.digest_table(session, one.table, one.columns)
            equal = (now.rows, now.value) == (one.rows, one.digest)
            emit(TableCompared(phase="after", table=one.table, rows=now.rows, equal=equal))
            if not equal:
                differing.append(one)
    written = _written(session, differing)
    lost = tuple(one.table for one in differing if one.table not in written)
    proof = Proof(
        tables=len(before),
        rows=sum(one.rows for one in before),
        identical=not differing,
        differing=tuple(one.table for one in differing),
        sentence=_sentence(before, written, lost, resumed=resumed),
    )
    return Verdict(proof=proof, lost=lost)


def _written(session: Session, differing: Sequence[Snapshot]) -> tuple[str, ...]:
    """Name those that somebody beside us wrote to, as soon as the server knows of all."""
    until = time.monotonic() + _STATISTICS_S
    ours = snapshots.writes_by_us(session, differing[0].run_id) if differing else {}
    while True:
        writes = snapshots.writes_by_table(session) if differing else {}
        found = tuple(
            one.table
            for one in differing
            if _is_by_others(one, writes.get(one.table, 0), ours.get(one.table, 0))
        )
        if len(found) == len(differing) or time.monotonic() > until:
            return found
        time.sleep(_POLL_S)


def _is_by_others(before: Snapshot, writes: int, ours: int) -> bool:
    """Tell whether more was written than we did; counted anew, the server cannot say by whom."""
    return writes < before.writes or writes - before.writes > ours


def _sentence(
    before: Sequence[Snapshot], written: Sequence[str], lost: Sequence[str], *, resumed: bool
) -> str:
    rows = sum(one.rows for one in before)
    same = len(before) - len(written) - len(lost)
    if not written and not lost:
        return f"{len(before)} tables, {rows:,} rows: old columns identical"
    text = f"{same} of {len(before)} tables: old columns identical"
    if written:
        who = "others meanwhile" + (", or by the run that was broken off" if resumed else "")
        text += f"; written by {who}, so not comparable: {', '.join(written)}"
    if lost:
        text += f"; DIFFERENT though nobody else wrote: {', '.join(lost)}"
    return text
