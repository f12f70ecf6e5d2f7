"""Say, for each tenant table, which operations OpsSight audits."""

from __future__ import annotations

import json
from collections.abc import Iterable

from opssight_migrate.model.plan import Estimate, Finding, Severity, Undo
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.tables import ORGANIZATION_NOT_NULL, SENSITIVE_COLUMNS
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.steps.base import Step, StepContext

RETENTION_DAYS = 365

_WRITES = ("INSERT", "UPDATE", "DELETE")
_OF_USERS = ("LOGIN", "LOGOUT", "PERMISSION_CHANGE")

_WANTED = """
SELECT o.id AS organization_id, w.table_name, w.operation::auditoperation AS operation,
       w.sensitive_fields
  FROM organizations AS o,
       jsonb_to_recordset(%(wanted)s::jsonb)
           AS w (table_name text, operation text, sensitive_fields jsonb)
"""
_CONFIGURED = (
    "WITH wanted AS ("
    + _WANTED
    + """)
INSERT INTO audit_configurations
    (organization_id, table_name, operation, is_enabled, include_old_values, include_new_values,
     excluded_fields, sensitive_fields, required_fields, retention_days, created_at, updated_at)
SELECT organization_id, table_name, operation, true, true, true, '[]', sensitive_fields, '[]',
       %(retention_days)s, now(), now()
  FROM wanted
 WHERE NOT EXISTS (SELECT FROM audit_configurations AS c
                    WHERE c.organization_id = wanted.organization_id
                      AND c.table_name = wanted.table_name AND c.operation = wanted.operation)
 ORDER BY 1, 2, 3
    ON CONFLICT (organization_id, table_name, operation) DO NOTHING
"""
)
_NOT_CONFIGURED = (
    "WITH wanted AS ("
    + _WANTED
    + """)
SELECT count(*), (array_agg(table_name || ' ' || operation::text ORDER BY 1))[1:5]
  FROM wanted
 WHERE NOT EXISTS (SELECT FROM audit_configurations AS c
                    WHERE c.organization_id = wanted.organization_id
                      AND c.table_name = wanted.table_name AND c.operation = wanted.operation)
"""
)


def configuration() -> list[dict[str, object]]:
    """Return what is audited: one entry a table and operation, with the columns to mask."""
    pairs = [(table, operation) for table in ORGANIZATION_NOT_NULL for operation in _WRITES]
    pairs += [("users", operation) for operation in _OF_USERS]
    return [
        {
            "table_name": table,
            "operation": operation,
            "sensitive_fields": list(SENSITIVE_COLUMNS.get(table, ())),
        }
        for table, operation in pairs
    ]


class InitialiseAudit(Step):
    """Configure auditing for each organization; what is configured already stays as it is."""

    id = "initialise-audit"
    title = "Configure auditing of the tenant tables"
    needs = revisions.AUDIT
    audit = Audit(operation="INSERT", severity="LOW", table="audit_configurations")
    undo_kind = Undo.ARCHIVE

    def estimate(self, ctx: StepContext) -> Estimate:
        """One row a table and operation, for each organization; before the chain there is one."""
        del ctx
        return Estimate(rows=len(configuration()), exact=False)

    def apply(self, ctx: StepContext) -> int:
        """Insert what is missing."""
        return ctx.session.execute(
            _CONFIGURED,
            {"wanted": json.dumps(configuration()), "retention_days": RETENTION_DAYS},
        )

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """Each table and operation is configured for each organization."""
        rows, keys = ctx.session.rows(_NOT_CONFIGURED, {"wanted": json.dumps(configuration())})[0]
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
