"""A query by time buckets answers, and misses no row."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import hypertables, time_buckets, timescale
from opssight_migrate.postgres.hypertables import SERIES

_HINT = "REINDEX its chunks, then ask again: opssight-migrate verify -t time-series"


class TimeBucketsAnswer(Check):
    """What time_bucket counts in the newest chunk's span is what is there."""

    id = "time-buckets-answer"
    title = "Queries by time buckets answer and miss no row"
    category = "time-series"
    needs = revisions.TIME_SERIES

    def skipped(self, ctx: CheckContext) -> str | None:
        """time_bucket is TimescaleDB's."""
        return hypertables.why_plain(ctx.session, ctx.time_series.engine)

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Count the newest rows both ways: by buckets, and by themselves."""
        for table, time in SERIES:
            if not timescale.is_hypertable(ctx.session, table):
                continue
            counted = time_buckets.counted(ctx.session, table, time, ctx.time_series.chunk_interval)
            if counted.by_bucket != counted.rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{table}: time buckets count {counted.by_bucket:,} rows of"
                    f" {counted.rows:,}",
                    where=table,
                    hint=_HINT,
                )

    def probe(self, ctx: CheckContext) -> Iterable[Finding]:
        """Write a row to each series, under an id below nought, and find it in its bucket."""
        for table, time in SERIES:
            if not timescale.is_hypertable(ctx.session, table):
                continue
            if not time_buckets.probed(ctx.session, table, time):
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{table}: a row that was written is in no time bucket",
                    where=table,
                    hint=_HINT,
                )
