"""The audit rows of the journal are those that were written, all of them."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import audit_chain


class JournalIsUnbroken(Check):
    """Each row holds its digest, and the digest of all before it."""

    id = "journal-is-unbroken"
    title = "No audit row of the journal was edited or removed"
    category = "audit"
    needs = revisions.START

    def skipped(self, ctx: CheckContext) -> str | None:
        """There must be a journal that was chained."""
        return None if audit_chain.is_kept(ctx.session) else "there is no journal with a chain"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compute the chain again."""
        for one in audit_chain.broken(ctx.session):
            message = (
                f"row {one.number} was edited"
                if one.was == "edited"
                else f"rows between {one.after} and {one.number} were removed"
            )
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=message,
                where="opssight_migrate.audit_rows",
                rows=1,
                keys=(one.audit_id,),
            )
