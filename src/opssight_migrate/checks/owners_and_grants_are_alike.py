"""What the chain made belongs to the owner of ``users`` and carries the grants made there."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, meaning


class OwnersAndGrantsAreAlike(Check):
    """Else the application's role reads ``users`` and is refused ``organizations``."""

    id = "owners-and-grants-are-alike"
    title = "New tables and sequences have the owner and the grants of users"
    category = "schema"
    needs = revisions.MULTI_TENANCY

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare each relation that is newer than the start."""
        start, now = golden(revisions.START), golden(catalog.current_revision(ctx.session) or "")
        made = [
            *(name for name in now["tables"] if name not in start["tables"]),
            *(name for name in now["sequences"] if name not in start["sequences"]),
        ]
        for relation, what, mending in meaning.other_ownership(ctx.session, made):
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"{relation}: {what}",
                where=relation,
                hint=mending,
                sql=mending,
            )
