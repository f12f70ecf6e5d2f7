"""What the steps of a run took and which locks they had, read back from the journal."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

_STEPS = """
SELECT s.step_id, s.kind, s.status, s.rows, s.forecast_ms,
       (EXTRACT(epoch FROM s.finished_at - s.started_at) * 1000)::int8,
       coalesce((SELECT array_agg(ARRAY[l.relation, l.mode, l.waited_ms::text, l.held_ms::text]
                                  ORDER BY l.id)
                   FROM opssight_migrate.lock_receipts AS l
                  WHERE l.run_id = s.run_id AND l.step_id = s.step_id), '{}')
  FROM opssight_migrate.steps AS s
 WHERE s.run_id = (SELECT r.id FROM opssight_migrate.runs AS r
                    WHERE EXISTS (SELECT FROM opssight_migrate.steps AS x WHERE x.run_id = r.id)
                    ORDER BY r.epoch DESC LIMIT 1)
 ORDER BY s.started_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """One step of the newest run. ``locks`` are (relation, mode, waited ms, held ms)."""

    step_id: str
    kind: str
    status: str
    rows: int | None
    forecast_ms: int | None
    took_ms: int | None
    locks: tuple[tuple[str, str, int, int], ...]


def of_the_newest_run(session: Session) -> tuple[StepTime, ...]:
    """Return its steps in their order; none where there was no run."""
    if not journal.exists(session):
        return ()
    return tuple(
        StepTime(
            step_id=step_id,
            kind=kind,
            status=status,
            rows=rows,
            forecast_ms=forecast_ms,
            took_ms=took_ms,
            locks=tuple((one, mode, int(waited), int(held)) for one, mode, waited, held in locks),
        )
        for step_id, kind, status, rows, forecast_ms, took_ms, locks in session.rows(_STEPS)
    )
