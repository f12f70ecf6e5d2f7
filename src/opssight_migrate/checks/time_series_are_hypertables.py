"""``metrics`` and ``log_entries`` are hypertables where TimescaleDB can be had."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import conversion, hypertables, series_obstacles, timescale
from opssight_migrate.postgres.hypertables import SERIES


class TimeSeriesAreHypertables(Check):
    """Read back from TimescaleDB; plain PostgreSQL serves too, and is said to."""

    id = "time-series-are-hypertables"
    title = "Metrics and log entries are hypertables, with all that belongs to them"
    category = "time-series"
    needs = revisions.TIME_SERIES

    def skipped(self, ctx: CheckContext) -> str | None:
        """Hypertables need TimescaleDB, and leave to use it."""
        return hypertables.why_plain(ctx.session, ctx.time_series.engine)

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Ask TimescaleDB; where something stands in the way it is named, as a note."""
        for table, time in SERIES:
            if conversion.is_whole(ctx.session, table):
                continue
            stops: list[str] = []
            message = f"{table} is not a hypertable"
            if timescale.is_hypertable(ctx.session, table):
                message = f"{table} is not wholly a hypertable: its conversion was not finished"
            else:
                hindrances = series_obstacles.of(
                    ctx.session, table, time, keeps_table=False, compresses=False
                )
                stops = [one.sentence for one in hindrances if one.stops]
            yield Finding(
                check_id=self.id,
                severity=Severity.NOTE if stops else Severity.FAIL,
                message=message + (f"; {stops[0]}" if stops else ""),
                where=table,
                hint="opssight-migrate migrate",
            )
