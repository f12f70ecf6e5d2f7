"""No row of a tenant table is without an organization."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, digest, sql

_WITHOUT_ORGANIZATION = """
SELECT count(*), (array_agg(t.id::text ORDER BY t.id))[1:5]
  FROM {table} AS t
  LEFT JOIN organizations AS o ON o.id = t.organization_id
 WHERE o.id IS NULL AND (t.organization_id IS NOT NULL OR {required})
"""


class EveryRowHasAnOrganization(Check):
    """NULL and dangling references alike: the join does not trust the foreign key."""

    id = "every-row-has-an-organization"
    title = "Rows of the tenant tables belong to an organization that exists"
    category = "tenancy"
    needs = revisions.MULTI_TENANCY

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look at each table with an organization; where NULL is allowed, it is one."""
        wanted = golden(catalog.current_revision(ctx.session) or revisions.MULTI_TENANCY)["tables"]
        present = digest.columns_by_table(ctx.session)
        for table, golden_table in wanted.items():
            required = [c for c in golden_table["columns"] if c["name"] == "organization_id"]
            if not required or "organization_id" not in present.get(table, ()):
                continue
            query = sql.SQL(_WITHOUT_ORGANIZATION).format(
                table=sql.Identifier("public", table),
                required=sql.Literal(not required[0]["nullable"]),
            )
            rows, keys = ctx.session.rows(query)[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"rows of {table} without an organization",
                    where=table,
                    rows=int(rows),
                    keys=tuple(keys),
                    hint="opssight-migrate migrate",
                )
