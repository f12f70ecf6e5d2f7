"""How long steps took in earlier runs of this database, by their own forecasts."""

from __future__ import annotations

from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

# A step that went on from a killed run took less than its whole: it does not count.
_RATIOS = """
SELECT s.step_id,
       EXTRACT(epoch FROM s.finished_at - s.started_at)::float8 * 1000 / s.forecast_ms
  FROM opssight_migrate.steps AS s JOIN opssight_migrate.runs AS r ON r.id = s.run_id
 WHERE s.status = 'done' AND s.forecast_ms > 0 AND cardinality(r.lineage) = 1
 ORDER BY s.finished_at DESC
 LIMIT 1000
"""


def ratios(session: Session) -> dict[str, list[float]]:
    """Return, for each step, actual time over reference time in earlier runs; newest first."""
    found: dict[str, list[float]] = {}
    if journal.exists(session):
        for step_id, ratio in session.rows(_RATIOS):
            found.setdefault(step_id, []).append(float(ratio))
    return found
