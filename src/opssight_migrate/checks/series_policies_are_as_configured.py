"""Chunk interval, compression and retention of the series are what the settings say."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import hypertables, series_policies, timescale
from opssight_migrate.postgres.hypertables import SERIES


class SeriesPoliciesAreAsConfigured(Check):
    """Read back from TimescaleDB's own views: what was asked for is not what stands."""

    id = "series-policies-are-as-configured"
    title = "Chunks, compression and retention are as [time_series] says"
    category = "time-series"
    needs = revisions.TIME_SERIES

    def skipped(self, ctx: CheckContext) -> str | None:
        """Policies need TimescaleDB."""
        return hypertables.why_plain(ctx.session, ctx.time_series.engine)

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare what stands with the settings, as far as the licence gives it."""
        offer = timescale.offered(ctx.session)
        for table, _ in SERIES:
            if not timescale.is_hypertable(ctx.session, table):
                continue
            is_held = hypertables.adopted(ctx.session, table) is not None
            wanted = series_policies.possible(
                ctx.session,
                offer,
                table,
                series_policies.configured(ctx.time_series, table, held=is_held),
            )
            for difference in wanted.differences(series_policies.read(ctx.session, table)):
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{table}: {difference}",
                    where=table,
                    hint="opssight-migrate migrate",
                )
            yield self._chunks(ctx, table, is_held=is_held)

    def _chunks(self, ctx: CheckContext, table: str, *, is_held: bool) -> Finding:
        chunks = hypertables.chunks(ctx.session, table)
        compressed = sum(chunk.compressed for chunk in chunks)
        message = f"{table}: {len(chunks):,} chunks, {compressed:,} of them compressed"
        if is_held:
            message += "; one is the table that was adopted, and policies wait while it is whole"
        return Finding(
            check_id=self.id,
            severity=Severity.NOTE,
            message=message,
            where=table,
            hint="opssight-migrate cleanup --chunks" if is_held else None,
        )
