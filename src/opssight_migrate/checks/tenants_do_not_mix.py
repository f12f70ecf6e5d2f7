"""A row and the rows it points at belong to the same organization."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, orphans, reader
from opssight_migrate.postgres.tenancy import Tenancy


class TenantsDoNotMix(Check):
    """Along every foreign key, also where a row's organization shows only through its parents.

    A user is at home in one organization and may be assigned to others: rows may point at users
    from each of these. NULL is the whole installation, which everybody may point at.
    """

    id = "tenants-do-not-mix"
    title = "References stay inside one organization"
    category = "tenancy"
    needs = revisions.MULTI_TENANCY

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Ask of each table, in one scan, to whom its rows and their parents belong."""
        actual = reader.readable(ctx.session, reader.read_catalogue(ctx.session))
        current = catalog.current_revision(ctx.session) or revisions.START
        known = tuple(orphans.references(current, actual))
        tenancy = Tenancy(catalogue=actual, references=known)
        for table in tenancy.tables():
            belonging = tenancy.belonging(ctx.session, table)
            for across in belonging.across:
                where, parent = across.reference.where, across.reference.parent
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{where} points into another organization's {parent}",
                    where=where,
                    rows=across.rows,
                    keys=across.keys,
                    hint="move the row or what it points at; SELECT it by these keys first",
                )
            if belonging.unknown:
                yield Finding(
                    check_id=self.id,
                    severity=Severity.NOTE,
                    message=f"rows of {table} belong to no organization, nor do their parents",
                    where=table,
                    rows=belonging.unknown,
                )
