"""The baseline: how long OpsSight's queries take before a run, measured once for its lineage."""

from __future__ import annotations

import time
from collections.abc import Callable

from opssight_migrate.model.errors import StatementError
from opssight_migrate.model.events import Emit, Noted, QueryMeasured
from opssight_migrate.opssight import queries, revisions
from opssight_migrate.postgres import baselines, catalog, latency
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.latency import Latency
from opssight_migrate.postgres.session import Session

_BUDGET_S = 20.0


def take(session: Session, journal: Journal, emit: Emit, pause_point: Callable[[], None]) -> None:
    """Measure each query that the database can answer, and keep it; no failure stops the run.

    A run that goes on from another has its baseline: by now the database is half migrated.
    """
    if baselines.are_kept(session, journal.lineage):
        return
    started = time.monotonic()
    taken: list[Latency] = []
    with session.reading():
        current = catalog.current_revision(session)
        if current is None or not revisions.is_published(current):
            return
        for query in queries.asked_at(current):
            pause_point()
            if time.monotonic() - started > _BUDGET_S:
                emit(_unmeasured(query.id, f"{_BUDGET_S:.0f} s are used up"))
                continue
            try:
                with session.trying():
                    one = latency.measure(session, query, latency.key_for(session, query))
            except StatementError as error:
                emit(_unmeasured(query.id, error.message))
                continue
            emit(
                QueryMeasured(
                    query_id=query.id,
                    title=query.title,
                    median_us=one.median_us,
                    pages=one.plan.pages,
                    plan=one.plan.lines,
                    verdict="baseline",
                )
            )
            taken.append(one)
    baselines.keep(session, journal.run_id, taken)


def _unmeasured(query_id: str, why: str) -> Noted:
    return Noted(severity="note", message=f"no baseline of the query {query_id}: {why}")
