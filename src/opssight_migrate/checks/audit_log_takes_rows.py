"""The audit log takes a row; tried only on request, and rolled back."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.errors import MigrateError
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions

# The explicit id leaves the sequence where it is: it would not move back.
_PROBE = """
INSERT INTO audit_logs (id, audit_id, operation, table_name, timestamp, severity, category,
                        description)
VALUES (-1, '00000000-0000-0000-0000-000000000001', 'SELECT', 'alembic_version', now(), 'LOW',
        'probe', 'opssight-migrate verify --probe')
RETURNING id
"""


class AuditLogTakesRows(Check):
    """Without --probe there is nothing to see: a check does not write unasked."""

    id = "audit-log-takes-rows"
    title = "A row can be written to the audit log"
    category = "audit"
    needs = revisions.AUDIT

    def skipped(self, ctx: CheckContext) -> str | None:
        """Writing, even what is rolled back, is for the operator to allow."""
        return None if ctx.probing else "it writes, and --probe was not given"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look at nothing: the probe is all there is."""
        del ctx
        return ()

    def probe(self, ctx: CheckContext) -> Iterable[Finding]:
        """Write one row with a negative id; the transaction is rolled back."""
        try:
            ctx.session.execute(_PROBE)
        except MigrateError as error:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"audit_logs refuses a row: {error.message}",
                where="audit_logs",
                hint="opssight-migrate verify -t schema",
            )
