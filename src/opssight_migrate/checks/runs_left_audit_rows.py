"""What the journal says was audited stands in ``audit_logs``, as it was written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import journal

_LOST = """
SELECT count(*), (array_agg(j.audit_id::text ORDER BY j.id))[1:5]
  FROM opssight_migrate.audit_rows AS j
 WHERE NOT EXISTS (SELECT FROM audit_logs AS a WHERE a.audit_id = j.audit_id)
"""
_EDITED = """
SELECT count(*), (array_agg(j.audit_id::text ORDER BY j.id))[1:5]
  FROM opssight_migrate.audit_rows AS j
  JOIN audit_logs AS a ON a.audit_id = j.audit_id
 WHERE (a.operation::text, a.severity::text, a.table_name, a.timestamp, a.correlation_id)
       <> (j.operation, j.severity, j.table_name, j.at, j.run_id)
    OR a.record_id IS DISTINCT FROM j.record_id OR a.description IS DISTINCT FROM j.description
    OR a.additional_context IS DISTINCT FROM j.context
"""
_UNKNOWN = """
SELECT count(*), (array_agg(a.audit_id::text ORDER BY a.id))[1:5]
  FROM audit_logs AS a
 WHERE a.category = 'migration'
   AND a.correlation_id IN (SELECT id FROM opssight_migrate.runs)
   AND NOT EXISTS (SELECT FROM opssight_migrate.audit_rows AS j WHERE j.audit_id = a.audit_id)
"""
# An attempt of somebody who is no operator stands among the runs, and never was one.
_UNAUDITED = """
SELECT count(*), (array_agg(r.id ORDER BY r.id))[1:5]
  FROM opssight_migrate.runs AS r
 WHERE r.status <> 'refused'
   AND NOT EXISTS (SELECT FROM opssight_migrate.audit_rows AS j WHERE j.run_id = r.id)
"""
_QUESTIONS: tuple[tuple[LiteralString, str], ...] = (
    (_LOST, "audit rows of the journal are missing in audit_logs"),
    (_EDITED, "audit rows say something else in audit_logs than in the journal"),
    (_UNKNOWN, "audit rows of our runs are in audit_logs and not in the journal"),
    (_UNAUDITED, "runs have left no audit row at all"),
)


class RunsLeftAuditRows(Check):
    """Each row that a run left for the audit log is there, unchanged, and none beside it."""

    id = "runs-left-audit-rows"
    title = "Every run and step has its rows in audit_logs"
    category = "audit"
    needs = revisions.AUDIT

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare journal and audit log; a database without a journal has nothing to compare."""
        if not journal.exists(ctx.session):
            return
        for query, message in _QUESTIONS:
            rows, keys = ctx.session.rows(query)[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=message,
                    where="audit_logs",
                    rows=int(rows),
                    keys=tuple(keys),
                    hint="opssight-migrate history tells the runs; ask who may write to audit_logs",
                )
