"""Make ``metrics`` and ``log_entries`` hypertables where TimescaleDB is usable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from opssight_migrate.model.events import ConversionBegun, Noted
from opssight_migrate.model.plan import Blocker, Estimate, Finding, PromisedLock, Severity, Undo
from opssight_migrate.opssight import rates, revisions
from opssight_migrate.postgres import (
    conversion,
    hypertables,
    plain_again,
    series_policies,
    timescale,
)
from opssight_migrate.postgres.conversion import Outlook
from opssight_migrate.postgres.hypertables import SERIES, Series
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.series_policies import Policies
from opssight_migrate.postgres.series_ways import Grants, Way
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.settings import TimeSeries
from opssight_migrate.steps.base import Step, StepContext


class SetUpTimeSeries(Step):
    """Hypertables with their policies; on plain PostgreSQL the run goes on and says so."""

    id = "set-up-time-series"
    title = "Set up metrics and log_entries for time series"
    needs = revisions.TIME_SERIES
    audit = Audit(operation="UPDATE", severity="LOW", table="metrics")
    undo_kind = Undo.ARCHIVE
    undo_alone = Undo.EXACT
    atomic = False

    def __init__(self, tables: frozenset[str] | None = None) -> None:
        """Take ``tables`` for the series that are undone; None: all."""
        self._undone = tables

    def preconditions(self, ctx: StepContext) -> Iterable[Blocker]:
        """Refused: rows that only a window could move, and what engine "timescaledb" lacks."""
        demanded = ctx.profile.time_series.engine == "timescaledb"
        if offer := _left_out(ctx):
            if demanded:
                message = f'{offer.reason}, and time_series.engine is "timescaledb"'
                yield Blocker(message=message, hint=offer.hint)
            return
        for series, outlook in self._plain(ctx, timescale.offered(ctx.session)):
            for one in outlook.stops if demanded else ():
                yield Blocker(message=f"{series.table}: {one.what}", hint=one.remedy)
            if outlook.choice.way is Way.REFUSED and not outlook.stops:
                yield Blocker(
                    message=f"{series.table}: {outlook.choice.why}",
                    where=series.table,
                    hint="grant the time for it: opssight-migrate migrate --window DURATION; or"
                    ' leave it a plain table: time_series.engine = "plain"',
                )

    def estimate(self, ctx: StepContext) -> Estimate:
        """No row moves but where the plan says so; what stands in the way is named."""
        if offer := _left_out(ctx):
            return Estimate(notes=(f"time series: {offer.reason}",))
        notes: list[str] = []
        locks: list[PromisedLock] = []
        seconds, wal_bytes = 0.0, 0
        for series, outlook in self._plain(ctx, timescale.offered(ctx.session)):
            notes += [f"time series: {series.table}, {one.sentence}" for one in outlook.hindrances]
            if outlook.stops or not outlook.rows:
                continue
            notes.append(f"time series: {series.table}: {outlook.choice.why}")
            at_most_ms = round(outlook.choice.locked_s * 1000)
            locks.append(PromisedLock(relation=series.table, at_most_ms=at_most_ms))
            locks += [
                PromisedLock(relation=name, mode="SHARE ROW EXCLUSIVE", at_most_ms=at_most_ms)
                for name in outlook.others
            ]
            locks += [
                PromisedLock(relation=name, at_most_ms=at_most_ms) for name in outlook.inbound
            ]
            seconds += outlook.reference_s
            wal_bytes += outlook.wal_bytes
        return Estimate(
            notes=tuple(notes),
            locks=tuple(dict.fromkeys(locks)),
            reference_s=seconds,
            wal_bytes=wal_bytes,
        )

    def apply(self, ctx: StepContext) -> None:
        """Create what the server can give; note what it cannot."""
        if note := self.left_out(ctx):
            ctx.emit(note)
            return
        timescale.create_extension(ctx.session)
        offer = timescale.offered(ctx.session)
        for series in series_of(ctx.profile.time_series):
            if not conversion.is_whole(ctx.session, series.table):
                outlook = conversion.look(ctx.session, offer, series, _grants(ctx))
                if self._stays_plain(ctx, series, outlook):
                    continue
                ctx.emit(ConversionBegun(step_id=self.id, table=series.table))
                conversion.convert(ctx.ddl, _door_for(ctx), series, outlook.choice)
            wanted = policies_for(ctx, offer, series.table)
            series_policies.settle(ctx.session, ctx.door, offer, series.table, wanted)

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """Nothing is missing that the server could give."""
        if _left_out(ctx):
            return
        offer = timescale.offered(ctx.session)
        for series, outlook in self._plain(ctx, offer):
            severity = Severity.NOTE if outlook.stops else Severity.FAIL
            message = f"{series.table} is not a hypertable" + (" yet" if outlook.stops else "")
            if timescale.is_hypertable(ctx.session, series.table):
                message = f"{series.table} is not wholly a hypertable yet"
            yield Finding(check_id=self.id, severity=severity, message=message, where=series.table)
        for series in series_of(ctx.profile.time_series):
            if not timescale.is_hypertable(ctx.session, series.table):
                continue
            wanted = policies_for(ctx, offer, series.table)
            for difference in wanted.differences(series_policies.read(ctx.session, series.table)):
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{series.table}: {difference}",
                    where=series.table,
                )

    def stands(self, ctx: StepContext) -> bool:
        """Hypertables have to be plain again before their revision is undone."""
        return any(self._standing(ctx))

    def only(self, tables: frozenset[str]) -> SetUpTimeSeries:
        """Hypertables can be plain tables again at any revision."""
        return SetUpTimeSeries(tables)

    def undo_estimate(self, ctx: StepContext) -> Estimate:
        """Catalogue writes for an adopted chunk that is whole; else rows are copied back."""
        notes: list[str] = []
        locks: list[PromisedLock] = []
        seconds = 0.0
        for series in self._standing(ctx):
            back = plain_again.outlook(ctx.session, series.table)
            copied_s = back.rows / rates.BACK_ROWS_PER_S
            how = "its chunk becomes the table again" if back.is_detached else ""
            if back.rows or not how:
                more = f"about {back.rows:,} rows are copied back in batches"
                how += f"{' and ' if how else ''}{more}, in {max(copied_s, 1):,.0f} s"
            notes.append(f"time series: {series.table}: {how}")
            locks += [PromisedLock(relation=name) for name in (series.table, *back.others)]
            seconds += copied_s + 3 * rates.PIECE_S
        told = tuple(dict.fromkeys(locks))
        return Estimate(notes=tuple(notes), locks=told, reference_s=seconds)

    def undo(self, ctx: StepContext) -> None:
        """Make them plain again, with all their rows."""
        for series in self._standing(ctx):
            plain_again.restore(ctx.ddl, series)

    def _standing(self, ctx: StepContext) -> Iterator[Series]:
        for series in series_of(ctx.profile.time_series):
            asked = self._undone is None or series.table in self._undone
            if asked and plain_again.stands(ctx.session, series.table):
                yield series

    def left_out(self, ctx: StepContext) -> Noted | None:
        """Say, for people, that hypertables are left out and what to install; None if not."""
        offer = _left_out(ctx)
        if offer is None:
            return None
        message = f"hypertables are skipped: {offer.reason}"
        return Noted(severity="warning", message=message, code="OM310", hint=offer.hint)

    def _plain(self, ctx: StepContext, offer: Offer) -> Iterator[tuple[Series, Outlook]]:
        for series in series_of(ctx.profile.time_series):
            if not conversion.is_whole(ctx.session, series.table):
                yield series, conversion.look(ctx.session, offer, series, _grants(ctx))

    def _stays_plain(self, ctx: StepContext, series: Series, outlook: Outlook) -> bool:
        for one in outlook.stops:
            ctx.emit(
                Noted(
                    severity="warning",
                    code="OM312",
                    message=f"{series.table} stays a plain table: {one.what}",
                    hint=f"{one.remedy} then run migrate again",
                )
            )
        return bool(outlook.stops)


def _left_out(ctx: StepContext) -> Offer | None:
    return timescale.left_out(ctx.session, ctx.profile.time_series.engine)


def series_of(settings: TimeSeries) -> tuple[Series, ...]:
    """Return the tables that are series, as configured."""
    return tuple(
        Series(table=table, time=time, chunk_interval=settings.chunk_interval)
        for table, time in SERIES
    )


def policies_for(ctx: StepContext, offer: Offer, table: str) -> Policies:
    """Return the policies that a table should have on this server."""
    settings = ctx.profile.time_series
    is_held = hypertables.adopted(ctx.session, table) is not None
    return series_policies.possible(
        ctx.session, offer, table, series_policies.configured(settings, table, held=is_held)
    )


def _grants(ctx: StepContext) -> Grants:
    return Grants(
        stall_s=ctx.profile.stall_budget.total_seconds(),
        window_s=ctx.window_s,
        cut_over=ctx.profile.time_series.cut_over,
    )


def _door_for(ctx: StepContext) -> Callable[[float], Door]:
    def door(held_s: float) -> Door:
        return replace(ctx.drive, stall_budget_s=held_s).door()

    return door
