"""What the journal says was audited stands in ``audit_logs``."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import journal

_LOST = """
SELECT count(*), (array_agg(j.audit_id::text ORDER BY j.id))[1:5]
  FROM opssight_migrate.audit_rows AS j
 WHERE NOT EXISTS (SELECT FROM audit_logs AS a WHERE a.audit_id = j.audit_id)
"""


class RunsLeftAuditRows(Check):
    """Each row that a run left for the audit log is there."""

    id = "runs-left-audit-rows"
    title = "Every run and step has its rows in audit_logs"
    category = "audit"
    needs = revisions.AUDIT

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare journal and audit log; a database without a journal has nothing to compare."""
        if not journal.exists(ctx.session):
            return
        rows, keys = ctx.session.rows(_LOST)[0]
        if rows:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message="audit rows of the journal are missing in audit_logs",
                where="audit_logs",
                rows=int(rows),
                keys=tuple(keys),
            )
