"""A row and the row it points at belong to the same organization."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import sql

# Every foreign key between two tables that both have an organization_id, read from the database.
# Not that of an assignment to its users: it is what lets a user into a second organization.
_TENANT_REFERENCES = """
SELECT child.relname::text, a.attname::text, parent.relname::text, b.attname::text
  FROM pg_constraint AS c
  JOIN pg_class AS child ON child.oid = c.conrelid
  JOIN pg_class AS parent ON parent.oid = c.confrelid
  JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
  JOIN pg_attribute AS b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[1]
 WHERE c.contype = 'f' AND cardinality(c.conkey) = 1
   AND child.relnamespace = 'public'::regnamespace
   AND parent.relnamespace = 'public'::regnamespace
   AND a.attname <> 'organization_id'
   AND NOT (child.relname = 'user_roles' AND parent.relname = 'users')
   AND (SELECT count(*) FROM pg_attribute AS o
         WHERE o.attname = 'organization_id' AND NOT o.attisdropped
           AND o.attrelid IN (c.conrelid, c.confrelid))
       = CASE WHEN c.conrelid = c.confrelid THEN 1 ELSE 2 END
 ORDER BY 1, 2
"""
# A NULL organization is the whole installation's (system roles), which everybody may point at.
# As text, since a table of somebody else may spell its organizations otherwise.
_ACROSS = """
SELECT count(*), (array_agg(child.ctid::text))[1:5]
  FROM {child} AS child
  JOIN {parent} AS parent ON parent.{key} = child.{column}
 WHERE child.organization_id::text <> parent.organization_id::text
"""


class TenantsDoNotMix(Check):
    """Along each foreign key between tenant-owned rows, both ends share the organization."""

    id = "tenants-do-not-mix"
    title = "References stay inside one organization"
    category = "tenancy"
    needs = revisions.MULTI_TENANCY

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Join child and parent for each such key."""
        for child, column, parent, key in ctx.session.rows(_TENANT_REFERENCES):
            query = sql.SQL(_ACROSS).format(
                child=sql.Identifier("public", child),
                parent=sql.Identifier("public", parent),
                column=sql.Identifier(column),
                key=sql.Identifier(key),
            )
            rows, keys = ctx.session.rows(query)[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{child}.{column} points into another organization's {parent}",
                    where=f"{child}.{column}",
                    rows=int(rows),
                    keys=tuple(f"ctid {key}" for key in keys),
                )
