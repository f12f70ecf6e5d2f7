"""The catalogue is the golden one of the database's revision, shims excepted."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, reader, standing


class CatalogueIsGolden(Check):
    """Missing and altered objects are findings; additional ones and shims are notes."""

    id = "catalogue-is-golden"
    title = "Tables, columns, keys and indexes are as OpsSight made them"
    category = "schema"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare object by object."""
        current = catalog.current_revision(ctx.session)
        if current is None:
            return
        actual = reader.read_catalogue(ctx.session)
        for difference in standing.altered(ctx.session, current, actual):
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=difference.sentence,
                where=difference.where,
                hint=difference.mending or "opssight-migrate status",
                sql=difference.mending,
            )
        for name in standing.additional(current, actual):
            yield Finding(check_id=self.id, severity=Severity.NOTE, message=f"{name} is not ours")
