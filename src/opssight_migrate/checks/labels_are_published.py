"""Roles and permissions stand under labels that OpsSight publishes."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, sql

_ENUMS = {"roles": "systemrole", "permissions": "permissiontype"}
_STRANGE = """
SELECT count(*), (array_agg(t.name::text ORDER BY t.name::text))[1:5]
  FROM {table} AS t WHERE t.name::text <> ALL (%s)
"""
_UNUSED = """
SELECT array_agg(w.label ORDER BY w.label)
  FROM unnest(%s::text[]) AS w (label)
 WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.name::text = w.label AND t.is_active)
"""


class LabelsArePublished(Check):
    """The release reads labels that it knows, and stumbles on others; nobody can be given a
    permission that has no row.
    """

    id = "labels-are-published"
    title = "Roles and permissions have labels that OpsSight knows"
    category = "rbac"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare the rows with the labels of the golden catalogue."""
        enums = golden(catalog.current_revision(ctx.session) or revisions.START)["enums"]
        for table, enum in _ENUMS.items():
            if not catalog.relation_exists(ctx.session, table):
                continue
            labels = list(enums[enum])
            name = sql.Identifier("public", table)
            rows, keys = ctx.session.rows(sql.SQL(_STRANGE).format(table=name), (labels,))[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{table} stand under labels that OpsSight does not know",
                    where=f"{table}.name",
                    rows=int(rows),
                    keys=tuple(keys),
                    hint="opssight-migrate verify -t schema tells what became of the label",
                )
            if unused := ctx.session.scalar(sql.SQL(_UNUSED).format(table=name), (labels,)):
                yield Finding(
                    check_id=self.id,
                    severity=Severity.NOTE,
                    message=f"labels of {enum} that no active row of {table} stands for",
                    where=table,
                    rows=len(unused),
                    keys=tuple(unused[:5]),
                )
