"""Each organization has INSERT, UPDATE and DELETE configured for each tenant table."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.tables import ORGANIZATION_NOT_NULL

_MISSING = """
SELECT count(*), (array_agg(t.name || ' ' || w.operation ORDER BY t.name, w.operation))[1:5]
  FROM organizations AS o
 CROSS JOIN unnest(%s::text[]) AS t (name)
 CROSS JOIN LATERAL (
       SELECT unnest(ARRAY['INSERT', 'UPDATE', 'DELETE'])
       UNION ALL
       SELECT unnest(ARRAY['LOGIN', 'LOGOUT', 'PERMISSION_CHANGE']) WHERE t.name = 'users'
       ) AS w (operation)
 WHERE NOT EXISTS (SELECT FROM audit_configurations AS c
                    WHERE c.organization_id = o.id AND c.table_name = t.name
                      AND c.operation::text = w.operation)
"""


class AuditIsConfigured(Check):
    """Whether auditing is enabled is the operator's choice; that it is configured is ours."""

    id = "audit-is-configured"
    title = "Writes to the tenant tables have an audit configuration"
    category = "audit"
    needs = revisions.AUDIT

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look for each organization, table and operation."""
        rows, keys = ctx.session.rows(_MISSING, (list(ORGANIZATION_NOT_NULL),))[0]
        if rows:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message="audit configurations are missing",
                where="audit_configurations",
                rows=int(rows),
                keys=tuple(keys),
                hint="opssight-migrate migrate",
            )
