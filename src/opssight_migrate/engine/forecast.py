"""The forecast: reference rates, corrected by what earlier runs of the same database took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from opssight_migrate.model.events import Emit, ForecastCorrected
from opssight_migrate.model.plan import Estimate, Forecast
from opssight_migrate.opssight.rates import SPREAD

_FEW = 5
_FIRST_S = 2.0
_TENTHS = 10


def forecast(estimate: Estimate, ratios: Sequence[float]) -> Forecast:
    """Return p50 and p90 for a step; ``ratios`` are actual over reference in earlier runs.

    With few runs the slow tenth is taken from the spread at the reference, since three runs say
    nothing about one in ten.
    """
    reference_s = estimate.reference_s
    if not ratios:
        return Forecast(p50_s=reference_s, p90_s=reference_s * SPREAD)
    usual = median(ratios)
    slow = quantiles(ratios, n=_TENTHS)[-1] if len(ratios) >= _FEW else max(*ratios, usual * SPREAD)
    return Forecast(p50_s=reference_s * usual, p90_s=reference_s * slow, runs=len(ratios))


@dataclass(slots=True)
class Correction:
    """What the first two seconds of a step's batches make of its forecast; told once.

    ``rows_total`` is how many rows its walks read in all, None where nobody knows.
    """

    step_id: str
    forecast_s: float
    rows_total: int | None
    emit: Emit
    rows: int = 0
    elapsed_s: float = 0.0
    is_told: bool = False

    def learn(self, rows: int, elapsed_s: float) -> None:
        """Hear of one batch."""
        self.rows += rows
        self.elapsed_s += elapsed_s
        if self.is_told or self.elapsed_s < _FIRST_S or not self.rows_total:
            return
        self.is_told = True
        whole_s = self.elapsed_s * max(1.0, self.rows_total / self.rows)
        self.emit(
            ForecastCorrected(step_id=self.step_id, forecast_s=self.forecast_s, corrected_s=whole_s)
        )
