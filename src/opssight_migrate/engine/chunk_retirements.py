"""The adopted chunks of the time series, as things to retire: the quick way back is given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from humanize import precisedelta

from opssight_migrate.engine.retirement import Retirement, is_unfinished, named
from opssight_migrate.model.plan import Blocker, PromisedLock
from opssight_migrate.opssight import rates
from opssight_migrate.postgres import (
    chunk_release,
    hypertables,
    references,
    series_policies,
    timescale,
)
from opssight_migrate.postgres.chunk_release import Release
from opssight_migrate.postgres.hypertables import ASIDE, Chunk, Series
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.steps.base import StepContext
from opssight_migrate.steps.set_up_time_series import policies_for, series_of

_PROMISED_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What can be retired, what has to wait and why, and what the operator has to decide."""

    things: tuple[Retirement, ...] = ()
    waiting: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()


def look(ctx: StepContext, pace: Callable[[], None]) -> Look:
    """Look at each adopted chunk. Reads only; ``pace`` is called before each piece of the work."""
    offer = timescale.left_out(ctx.session, ctx.profile.time_series.engine)
    if offer is not None:
        return Look(waiting=(f"time series: {offer.reason}: there are no chunks",))
    found = [
        _one(ctx, timescale.offered(ctx.session), series, chunk, pace)
        for series in series_of(ctx.profile.time_series)
        if (chunk := hypertables.adopted(ctx.session, series.table)) is not None
    ]
    blockers = tuple(blocker for one in found for blocker in one.blockers)
    if found and is_unfinished(ctx.session):
        message = "a migration or rollback is not finished, and needs the whole chunk"
        blockers = (Blocker(message=message, hint="opssight-migrate status"), *blockers)
    return Look(
        things=tuple(thing for one in found for thing in one.things),
        waiting=tuple(sentence for one in found for sentence in one.waiting),
        blockers=blockers,
    )


def _one(
    ctx: StepContext, offer: Offer, series: Series, chunk: Chunk, pace: Callable[[], None]
) -> Look:
    session, table = ctx.session, series.table
    policies = policies_for(ctx, offer, table)
    after = policies.compress_after
    if not offer.splits and after is None:
        sentence = f"{table}: {offer.named} can neither split nor compress its adopted chunk"
        return Look(waiting=(sentence,))
    rows = chunk_release.rows(session, chunk)
    count = chunk_release.intervals(session, chunk, series.chunk_interval)
    compresses = chunk.compressed or chunk_release.is_old(session, chunk, after)
    rewritten = rows / rates.ROWS_A_SEGMENT if compresses else rows
    held_s = rewritten / rates.SPLIT_ROWS_PER_S if offer.splits and count > 1 else 0.0
    granted_s = ctx.window_s or ctx.profile.stall_budget.total_seconds() / 2
    if held_s > granted_s:
        return _not_now(ctx, table, chunk, after, held_s)
    splits = count if offer.splits else 1
    course = _Course(
        rows=rows,
        compresses=compresses and not chunk.compressed,
        pieces=splits,
        held_s=held_s,
        retain=policies.retain,
    )
    release = Release(series=series, offer=offer, compress_after=after, window_s=ctx.window_s)
    return Look(things=(_thing(ctx, release, course, pace),))


def _not_now(
    ctx: StepContext, table: str, chunk: Chunk, after: timedelta | None, held_s: float
) -> Look:
    """Time cures a chunk that will be compressed; another one needs a window."""
    what = f"{table}: to split its adopted chunk as it is would stop everybody for about"
    what += f" {held_s:,.0f} s each time"
    hint = "grant the time for it: opssight-migrate cleanup --chunks --window DURATION"
    if after is None or ctx.window_s is not None:
        return Look(blockers=(Blocker(message=what, where=f"{ASIDE}.{table}", hint=hint),))
    old_at = chunk_release.old_at(ctx.session, chunk, after)
    return Look(
        waiting=(
            f"{what}; from {old_at:%Y-%m-%d %H:%M} UTC on it is compressed first, and nobody waits"
            f" (time_series.compress_after); at once: cleanup --chunks --window DURATION",
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    rows: int
    compresses: bool
    pieces: int
    held_s: float
    retain: timedelta | None

    @property
    def reference_s(self) -> float:
        compressing_s = self.rows / rates.COMPRESSED_ROWS_PER_S if self.compresses else 0.0
        return compressing_s + self.pieces * rates.SPLIT_S + self.held_s * self.pieces.bit_length()

    def notes(self, table: str) -> tuple[str, ...]:
        """Say what is otherwise from then on."""
        back_s = max(self.rows / rates.BACK_ROWS_PER_S, 1)
        notes = (
            f"{table}: a rollback then copies its rows back in batches, for about {back_s:,.0f} s,"
            " instead of detaching the chunk",
        )
        if self.retain is None:
            return notes
        return (
            *notes,
            f"{table}: from then on chunks older than {precisedelta(self.retain)} are dropped with"
            " their rows (time_series.retain)",
        )

    def sentence(self, interval: timedelta) -> str:
        parts = []
        if self.compresses:
            seconds = self.rows / rates.COMPRESSED_ROWS_PER_S
            parts.append(
                f"compressed for about {max(seconds, 1):,.0f} s, while reads go on and writes to"
                " its rows wait, at most for stall_budget"
            )
        if self.pieces > 1:
            parts.append(f"split into at most {self.pieces:,} chunks of {precisedelta(interval)}")
        return ", then ".join([*parts, "its policies run"])


def _thing(
    ctx: StepContext, release: Release, course: _Course, pace: Callable[[], None]
) -> Retirement:
    table = release.series.table
    place = f"{ASIDE}.{table}"
    step_id = f"adopted chunk {place}"
    at_most_ms = round((_PROMISED_S + course.held_s) * 1000)
    others = references.tables_of(ctx.session, table) if course.pieces > 1 else ()
    return Retirement(
        id=step_id,
        title=course.sentence(release.series.chunk_interval),
        table=table,
        rows=course.rows,
        operation="UPDATE",
        notes=course.notes(table),
        reference_s=course.reference_s,
        work=partial(_carry_out, named(ctx, step_id), release, pace),
        atomic=False,
        locks=(
            PromisedLock(relation=place, at_most_ms=at_most_ms),
            *(
                PromisedLock(relation=one, mode="SHARE ROW EXCLUSIVE", at_most_ms=at_most_ms)
                for one in others
            ),
        ),
    )


def _carry_out(ctx: StepContext, release: Release, pace: Callable[[], None]) -> None:
    """Let the chunk go, piece by piece, and then the policies run that waited for it."""
    door = ctx.door
    door.stall_budget_s = release.window_s or door.stall_budget_s
    chunk_release.carry_out(ctx.session, door, release, pace)
    table = release.series.table
    wanted = policies_for(ctx, release.offer, table)
    series_policies.settle(ctx.session, ctx.door, release.offer, table, wanted)
