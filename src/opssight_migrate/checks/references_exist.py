"""Each row that points at another row points at one that exists."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, orphans, reader


class ReferencesExist(Check):
    """Recomputed for each foreign key, OpsSight's own also where the database lost them."""

    id = "references-exist"
    title = "No row points at a row that is not there"
    category = "foreign-keys"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look for the parent of each child."""
        actual = reader.readable(ctx.session, reader.read_catalogue(ctx.session))
        current = catalog.current_revision(ctx.session) or revisions.START
        for reference in orphans.references(current, actual):
            table = actual["tables"][reference.child]
            key = table["primary_key"]
            shown = key["columns"][0] if key else reference.columns[0]
            rows, keys = orphans.orphans(ctx.session, reference, shown)
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{reference.where} points at {reference.parent} that do not exist",
                    where=reference.where,
                    rows=rows,
                    keys=keys,
                    hint="restore the parents from a backup, or set the references to NULL",
                )
