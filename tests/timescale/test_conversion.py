"""Empty and filled tables become hypertables, and keep what they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.timescale import rows
from tests.timescale.conftest import ContextFor

from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres import carried, hypertables, reader, standing
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import StepContext
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries


def failures(ctx: StepContext) -> list[str]:
    with ctx.session.reading():
        found = list(SetUpTimeSeries().verify(ctx))
    return [one.message for one in found if one.severity is Severity.FAIL]


def convert(ctx: StepContext) -> None:
    SetUpTimeSeries().apply(ctx)
    assert failures(ctx) == []


ATTACH: dict[str, Any] = {"defaults": {"stall_budget": "1ms"}, "cut_over": "atomic"}


def test_empty_tables_become_hypertables_with_a_key_that_holds_the_time(
    timescale: Session, context_for: ContextFor
) -> None:
    ctx = context_for()
    assert failures(ctx) == ["metrics is not a hypertable", "log_entries is not a hypertable"]

    convert(ctx)

    assert hypertables.key_columns(timescale, "metrics") == ("id", "timestamp")
    actual = reader.read_catalogue(timescale)
    assert standing.altered(timescale, "80bd6a3c3fa1", actual) == []
    assert len(actual["tables"]["log_entries"]["indexes"]) == 21


@pytest.mark.parametrize("write_available", [False, True], ids=["atomic", "write-available"])
def test_a_filled_table_is_attached_without_a_copy_and_keeps_every_row(
    timescale: Session, context_for: ContextFor, write_available: bool
) -> None:
    rows.fill(timescale, 400)
    before = rows.digests(timescale)
    pieces = carried.pieces(timescale, "metrics")
    cut_over = "write-available" if write_available else "atomic"

    convert(context_for(**{**ATTACH, "cut_over": cut_over}))

    assert rows.digests(timescale) == before
    assert carried.lacking(pieces, carried.pieces(timescale, "metrics")) == []
    chunk = hypertables.adopted(timescale, "metrics")
    assert chunk is not None
    assert not chunk.compressed
    assert rows.write_metric(timescale, "2026-11-25") > 400 * 3
    actual = reader.read_catalogue(timescale)
    assert standing.altered(timescale, "80bd6a3c3fa1", actual) == []
