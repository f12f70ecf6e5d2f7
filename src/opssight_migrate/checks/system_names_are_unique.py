"""No name stands twice where organization_id is NULL, which the unique constraints let through."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import digest, sql

# The columns that are unique together with organization_id.
_UNIQUE: dict[str, tuple[str, ...]] = {
    "roles": ("name",),
    "permissions": ("name",),
    "audit_configurations": ("table_name", "operation"),
    "user_permissions": ("user_id", "permission_id"),
}
_TWICE = """
SELECT count(*), (array_agg(d.name ORDER BY d.name))[1:5]
  FROM (SELECT {name} AS name FROM {table} AS t WHERE t.organization_id IS NULL
         GROUP BY 1 HAVING count(*) > 1) AS d
"""


class SystemNamesAreUnique(Check):
    """NULL equals nothing, so two VIEWER roles of the whole installation fit beside each other."""

    id = "system-names-are-unique"
    title = "Roles and permissions of the whole installation exist once"
    category = "rbac"
    needs = revisions.RBAC

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Group the rows without an organization."""
        present = digest.columns_by_table(ctx.session, _UNIQUE)
        for table, columns in _UNIQUE.items():
            if not {*columns, "organization_id"} <= set(present.get(table, ())):
                continue
            names = [sql.SQL("t.{}::text").format(sql.Identifier(one)) for one in columns]
            query = sql.SQL(_TWICE).format(
                name=sql.SQL(" || ' ' || ").join(names), table=sql.Identifier("public", table)
            )
            rows, keys = ctx.session.rows(query)[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{table} without an organization exist more than once",
                    where=table,
                    rows=int(rows),
                    keys=tuple(keys),
                    hint=f"give all but one an organization, or merge them: see {table}",
                )
