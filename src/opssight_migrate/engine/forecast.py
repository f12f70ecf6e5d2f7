"""The forecast: reference rates, corrected by what earlier runs of the same database took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

from opssight_migrate.model.plan import Estimate, Forecast
from opssight_migrate.opssight.rates import SPREAD

_FEW = 5
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
