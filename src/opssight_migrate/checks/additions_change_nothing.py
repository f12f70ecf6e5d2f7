"""What somebody added beside OpsSight's objects does not change what those mean."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions, shims
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, drift, extras, meaning, reader
from opssight_migrate.postgres.drift import Kind, Thing


class AdditionsChangeNothing(Check):
    """Views, functions, triggers and indexes are notes; what refuses or hides rows is not."""

    id = "additions-change-nothing"
    title = "Additional objects leave OpsSight's own as they are"
    category = "schema"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look at the objects on our tables, and at labels that our enums should not have."""
        current = catalog.current_revision(ctx.session) or revisions.START
        wanted = golden(current)
        tables = wanted["tables"]
        indexes = [f"{t}.{i['name']}" for t, table in tables.items() for i in table["indexes"]]
        indexes += [f"{shim.table}.{shim.index}" for shim in shims.ONCE_UNIQUE]
        columns = [f"{t}.{c['name']}" for t, table in tables.items() for c in table["columns"]]
        for one in meaning.altering(ctx.session, list(tables), indexes, columns):
            yield self._finding(f"{one.what} {one.does}", one.where)
        for difference in drift.differences(wanted, reader.read_catalogue(ctx.session)):
            of_enum = difference.thing is Thing.ENUM and difference.part == "label"
            if of_enum and difference.kind is Kind.ADDITIONAL:
                yield self._finding(difference.sentence, difference.where)
        for extra in extras.read_extras(ctx.session):
            if extra.kind not in ("rule", "row security"):
                yield Finding(
                    check_id=self.id, severity=Severity.NOTE, message=f"{extra} is not ours"
                )

    def _finding(self, message: str, where: str) -> Finding:
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL,
            message=message,
            where=where,
            hint="take it away, or talk to whoever added it: opssight-migrate status lists more",
        )
