"""The audit rows of the journal are those that were written, all of them."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import audit_chain


class JournalIsUnbroken(Check):
    """Each row holds its digest, and the digest of all before it; each run its last one."""

    id = "journal-is-unbroken"
    title = "No audit row of the journal was edited or removed"
    category = "audit"
    needs = revisions.START

    def skipped(self, ctx: CheckContext) -> str | None:
        """There must be a journal that was chained."""
        return None if audit_chain.is_kept(ctx.session) else "there is no journal with a chain"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compute the chain again, and look whether each run's last link is still in it."""
        for one in audit_chain.broken(ctx.session):
            message = (
                f"row {one.number} was edited"
                if one.was == "edited"
                else f"rows between {one.after} and {one.number} were removed"
            )
            yield self._finding(message, one.audit_id)
        for run_id in audit_chain.torn(ctx.session):
            message = f"the last rows of run {run_id} were removed, or computed anew"
            yield self._finding(message, run_id)

    def _finding(self, message: str, key: str) -> Finding:
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL,
            message=message,
            where="opssight_migrate.audit_rows",
            rows=1,
            keys=(key,),
            hint="opssight-migrate history tells the runs; audit_logs and a backup the old rows",
        )
