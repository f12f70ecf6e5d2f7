"""The times of a run's steps as bars, laid out for the SVG of the HTML report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from opssight_migrate.model.report import ReportStep
from opssight_migrate.render.phrases import duration

_WIDTH = 1000.0
_SECOND_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One step: its share of the width, its waits for locks, and where the forecast stood."""

    label: str
    width: float
    waited: float
    forecast: float | None
    said: str


def bars(steps: Sequence[ReportStep]) -> list[Bar]:
    """Return a bar for each step that ran, on a scale that the longest one fills."""
    ran = [step for step in steps if step.duration_ms is not None]
    longest = max(
        (max(_took(step), _forecast(step) or 0, _waited(step)) for step in ran), default=0
    )
    scale = _WIDTH / max(longest, 1)
    return [
        Bar(
            label=step.id,
            width=max(_took(step) * scale, 2),
            waited=_waited(step) * scale,
            forecast=None
            if _forecast(step) is None
            else min((_forecast(step) or 0) * scale, _WIDTH),
            said=_said(step),
        )
        for step in ran
    ]


def time_taken(ms: int) -> str:
    """Return a time as people read it, and below a second in milliseconds."""
    return f"{ms} ms" if ms < _SECOND_MS else duration(ms / _SECOND_MS)


def _took(step: ReportStep) -> int:
    return step.duration_ms or 0


def _forecast(step: ReportStep) -> int | None:
    return None if step.forecast is None else step.forecast.p50_ms


def _waited(step: ReportStep) -> int:
    """Return the time that a step waited: locks of one transaction were waited for at once."""
    together = groupby(step.locks, key=lambda lock: (lock.waited_ms, lock.held_ms))
    return sum(waited_ms for (waited_ms, _), _ in together)


def _said(step: ReportStep) -> str:
    text = time_taken(_took(step))
    if waited := _waited(step):
        text += f", {waited:,} ms of it for locks"
    if (forecast := _forecast(step)) is not None:
        text += f"; forecast {time_taken(forecast)}"
    return text
