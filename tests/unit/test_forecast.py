"""What a step will take, from the reference and earlier runs, and from its own first batches."""

from __future__ import annotations

import pytest

from opssight_migrate.commands.draft import Draft
from opssight_migrate.engine.forecast import Correction, forecast
from opssight_migrate.model.events import (
    Event,
    ForecastCorrected,
    LockTaken,
    PlanMade,
    StepFinished,
)
from opssight_migrate.model.plan import (
    DatabaseFacts,
    Estimate,
    Forecast,
    Plan,
    PlannedStep,
    PromisedLock,
)
from opssight_migrate.opssight.rates import SPREAD
from opssight_migrate.render.phrases import event_line
from opssight_migrate.settings import Settings

FACTS = DatabaseFacts(
    host="h", port=1, name="d", user="u", server_version="18", system_identifier="1",
    database_oid=1,
)  # fmt: skip


def test_without_history_the_reference_speaks() -> None:
    found = forecast(Estimate(reference_s=10), [])
    assert (found.p50_s, found.p90_s, found.runs) == (10, 10 * SPREAD, 0)


def test_earlier_runs_of_this_database_correct_the_reference() -> None:
    found = forecast(Estimate(reference_s=10), [2.0, 2.0, 2.0, 2.0, 4.0])
    assert (found.p50_s, found.runs) == (20, 5)
    assert 20 < found.p90_s <= 60


def test_the_first_two_seconds_of_batches_correct_it_once() -> None:
    told: list[Event] = []
    correction = Correction("assign-roles", 1.0, 100_000, told.append)
    for _ in range(50):
        correction.learn(1000, 0.125)
    assert told == [ForecastCorrected(step_id="assign-roles", forecast_s=1.0, corrected_s=12.5)]
    assert event_line(told[0]) == ("assign-roles: at this rate 12 s in all; the forecast was 1.0 s")


def test_more_rows_than_were_planned_are_never_less_than_what_was_done() -> None:
    told: list[Event] = []
    Correction("fill", 1.0, 10, told.append).learn(1000, 3.0)
    assert told == [ForecastCorrected(step_id="fill", forecast_s=1.0, corrected_s=3.0)]


@pytest.mark.parametrize(("rows_total", "elapsed_s"), [(None, 9.0), (0, 9.0), (100, 1.9)])
def test_a_short_step_or_one_of_unknown_length_is_not_corrected(
    rows_total: int | None, elapsed_s: float
) -> None:
    told: list[Event] = []
    Correction("fill", 1.0, rows_total, told.append).learn(10, elapsed_s)
    assert told == []


def test_the_report_keeps_the_correction_beside_the_forecast() -> None:
    settings = Settings.model_validate({"environments": {"local": {}}})
    draft = Draft("migrate", settings.profile(None))
    step = PlannedStep(
        step_id="fill", title="Fill", kind="data", estimate=Estimate(rows=10),
        forecast=Forecast(p50_s=1.0, p90_s=3.0),
    )  # fmt: skip
    plan = Plan(
        environment="local", protected=False, origin="here", database=FACTS,
        revision_from=None, revision_to="x", steps=(step,),
    )  # fmt: skip
    draft.hear(PlanMade(plan=plan))
    draft.hear(ForecastCorrected(step_id="fill", forecast_s=1.0, corrected_s=12.5))
    (found,) = draft.report().steps
    assert found.forecast is not None
    assert (found.forecast.p50_ms, found.forecast.corrected_ms) == (1000, 12_500)


def test_a_lock_that_was_held_longer_than_promised_is_told_with_its_step() -> None:
    settings = Settings.model_validate({"environments": {"local": {}}})
    draft = Draft("migrate", settings.profile(None))
    promised = Estimate(locks=(PromisedLock(relation="users"), PromisedLock(relation="teams")))
    plan = Plan(
        environment="local", protected=False, origin="here", database=FACTS,
        revision_from=None, revision_to="x", in_use=("users", "teams"),
        steps=(PlannedStep(step_id="85f9", title="A", kind="schema", estimate=promised),),
    )  # fmt: skip
    draft.hear(PlanMade(plan=plan))
    for relation, held_ms in (("users", 51), ("teams", 50)):
        draft.hear(
            LockTaken(
                step_id="85f9",
                relation=relation,
                mode="ACCESS EXCLUSIVE",
                waited_ms=0,
                held_ms=held_ms,
                victims=(),
            )
        )
    draft.hear(StepFinished(step_id="85f9", title="A", rows=None, elapsed_s=1.0))
    assert [told.message for told in draft.report().diagnostics] == [
        "85f9: ACCESS EXCLUSIVE on users was held for 51 ms; the plan promised less than 50 ms"
    ]
