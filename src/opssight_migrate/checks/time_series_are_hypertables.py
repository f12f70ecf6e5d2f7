"""``metrics`` and ``log_entries`` are hypertables where TimescaleDB can be had."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, timescale

_TABLES = ("log_entries", "metrics")


class TimeSeriesAreHypertables(Check):
    """Read back from TimescaleDB; plain PostgreSQL serves too, and is said to."""

    id = "time-series-are-hypertables"
    title = "Metrics and log entries are hypertables, as configured"
    category = "time-series"
    needs = revisions.TIME_SERIES

    def skipped(self, ctx: CheckContext) -> str | None:
        """Hypertables need TimescaleDB, and leave to use it."""
        if ctx.time_series.engine == "plain":
            return "time_series.engine is plain: metrics and log_entries are ordinary tables"
        reason = timescale.offered(ctx.session).reason
        return f"{reason}: metrics and log_entries are ordinary tables" if reason else None

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Ask TimescaleDB."""
        for table in _TABLES:
            if timescale.is_hypertable(ctx.session, table):
                continue
            empty = catalog.table_is_empty(ctx.session, table)
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL if empty else Severity.NOTE,
                message=f"{table} is not a hypertable" + ("" if empty else ", and has rows"),
                where=table,
                hint="opssight-migrate migrate" if empty else None,
            )
