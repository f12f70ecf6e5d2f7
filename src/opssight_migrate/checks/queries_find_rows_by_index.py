"""OpsSight's queries by key find their rows by an index, whatever the tables' sizes are now."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.errors import StatementError
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import queries, revisions
from opssight_migrate.postgres import catalog, latency


class QueriesFindRowsByIndex(Check):
    """Planned, not run, with reading a whole table made the last resort.

    The planner reads small tables whole, and rightly; the missing index is felt when they grow.
    """

    id = "queries-find-rows-by-index"
    title = "Queries by key have an index to go by"
    category = "performance"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Name each query that is left without one."""
        current = catalog.current_revision(ctx.session) or revisions.START
        for query in queries.asked_at(current):
            try:
                with ctx.session.trying():
                    whole = latency.read_whole(ctx.session, query)
            except StatementError:
                continue  # the table or column is not there, which is the schema's finding
            for table in dict.fromkeys(whole):
                yield Finding(
                    check_id=self.id,
                    severity=Severity.FAIL,
                    message=f"{query.id} must read all of {table}: no index serves it",
                    where=table,
                    hint="opssight-migrate verify -t schema --show-sql",
                )
