"""A rollback to the start, and a migration forward again, loses nothing and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding
from opssight_migrate.opssight import revisions


class WayBackLosesNothing(Check):
    """A rehearsal, not a look: it is carried out in a scratch database, never in the operator's."""

    id = "way-back-loses-nothing"
    title = "A rollback to the start and the way forward again lose nothing"
    category = "rollback"
    needs = revisions.MULTI_TENANCY

    def skipped(self, ctx: CheckContext) -> str | None:
        """It takes a scratch database, which can be configured away."""
        return "verify.rehearse is off" if ctx.rehearsal is None else None

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look at nothing: the rehearsal is all there is."""
        del ctx
        return ()

    def rehearse(self, ctx: CheckContext) -> Iterable[Finding]:
        """Go back and forth in the scratch database, and say what came out otherwise."""
        return ctx.rehearsal(ctx.session, self.id) if ctx.rehearsal else ()
