"""Make ``metrics`` and ``log_entries`` hypertables where TimescaleDB is usable."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.model.events import Noted
from opssight_migrate.model.plan import Estimate, Finding, Severity, Undo
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, timescale
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.steps.base import Step, StepContext

TABLES: tuple[str, ...] = ("metrics", "log_entries")
_TIME = "timestamp"


class SetUpTimeSeries(Step):
    """Hypertables while the tables are empty; on plain PostgreSQL the run goes on and says so."""

    id = "set-up-time-series"
    title = "Set up metrics and log_entries for time series"
    needs = revisions.TIME_SERIES
    audit = Audit(operation="UPDATE", severity="LOW", table="metrics")
    undo_kind = Undo.ARCHIVE
    atomic = False

    def estimate(self, ctx: StepContext) -> Estimate:
        """No row moves; on plain PostgreSQL it says what is left out."""
        skipped = self.skipped(ctx)
        return Estimate(notes=(f"time series: {skipped[0]}",) if skipped else ())

    def apply(self, ctx: StepContext) -> None:
        """Create what the server can give; note what it cannot."""
        if skipped := self.skipped(ctx):
            reason, hint = skipped
            message = f"hypertables are skipped: {reason}"
            ctx.emit(Noted(severity="warning", message=message, code="OM310", hint=hint))
            return
        timescale.create_extension(ctx.session)
        for table in TABLES:
            if timescale.is_hypertable(ctx.session, table):
                continue
            if not timescale.make_hypertable(ctx.session, ctx.door, table, _TIME):
                ctx.emit(Noted(severity="warning", message=f"{table} has rows and stays plain"))

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """Nothing is missing that the server could give to an empty table."""
        if self.skipped(ctx):
            return
        for table in TABLES:
            if timescale.is_hypertable(ctx.session, table):
                continue
            empty = catalog.table_is_empty(ctx.session, table)
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL if empty else Severity.NOTE,
                message=f"{table} is not a hypertable" + ("" if empty else ", and has rows"),
                where=table,
            )

    def skipped(self, ctx: StepContext) -> tuple[str, str | None] | None:
        """Say why hypertables are left out, with what to do about it; None when they are not."""
        if ctx.profile.time_series.engine == "plain":
            return "time_series.engine is plain", None
        offer = timescale.offered(ctx.session)
        return None if offer.reason is None else (offer.reason, offer.hint)
