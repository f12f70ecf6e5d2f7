"""Each foreign key of OpsSight is there, validated, and not switched off."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, orphans, reader, standing
from opssight_migrate.postgres.drift import Kind, Thing


class ForeignKeysAreEnforced(Check):
    """A key that is missing, not validated or disabled lets in what references-exist finds."""

    id = "foreign-keys-are-enforced"
    title = "The server enforces every foreign key of OpsSight"
    category = "foreign-keys"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare with the golden catalogue, and look at the triggers behind the keys."""
        current = catalog.current_revision(ctx.session) or revisions.START
        actual = reader.read_catalogue(ctx.session)
        for difference in standing.altered(ctx.session, current, actual):
            if difference.thing is Thing.FOREIGN_KEY:
                gone = difference.kind is Kind.MISSING
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{difference.name} is {'missing' if gone else 'not as it should be'}"
                    + (f": {difference.part} is {difference.found}" if difference.part else ""),
                    where=difference.where,
                    hint=difference.mending or "opssight-migrate status",
                    sql=difference.mending,
                )
        off = orphans.disabled(ctx.session)
        for reference in orphans.references(current, actual):
            if reference.name in off:
                mending = f'ALTER TABLE "{reference.child}" ENABLE TRIGGER ALL;'
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"the triggers of {reference.name} are disabled",
                    where=f"{reference.child}.{reference.name}",
                    hint=mending,
                    sql=mending,
                )
