"""A hypertable becomes the plain table that it was, with the rows that were written since."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql
from tests.timescale import rows
from tests.timescale.conftest import ContextFor
from tests.timescale.test_conversion import ATTACH, convert

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import carried, hypertables, reader
from opssight_migrate.postgres.drift import differences
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import StepContext
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

_WAYS: list[Any] = [
    pytest.param(ATTACH, "", id="attached"),
    pytest.param({**ATTACH, "cut_over": "write-available"}, "", id="attached while writable"),
    pytest.param({}, "", id="moved into chunks"),
    pytest.param(
        ATTACH, "CALL {}.convert_to_columnstore('opssight_series.metrics')", id="compressed"
    ),
    pytest.param(
        ATTACH,
        "CALL {}.split_chunk('opssight_series.metrics', split_at => timestamptz '2026-03-08')",
        id="split",
    ),
]


def undo(ctx: StepContext) -> None:
    assert SetUpTimeSeries().stands(ctx)
    SetUpTimeSeries().undo(ctx)
    assert not SetUpTimeSeries().stands(ctx)


@pytest.mark.parametrize(("way", "meanwhile"), _WAYS)
def test_every_way_leads_back_with_all_rows_and_the_catalogue_of_before(
    timescale: Session, context_for: ContextFor, way: dict[str, Any], meanwhile: str
) -> None:
    rows.fill(timescale, 400)
    pieces = [carried.pieces(timescale, table) for table in rows.SERIES]
    ctx = context_for(**way)
    convert(ctx)
    if meanwhile:
        timescale.execute(sql.SQL(meanwhile).format(sql.Identifier("timescale")))
    for at in ("2026-01-05", "2026-03-20 12:00", "2026-11-25", "2031-01-01"):
        rows.write_metric(timescale, at)
    before = rows.digests(timescale)

    undo(ctx)

    assert rows.digests(timescale) == before
    assert before["metrics"][0] == 404
    assert [carried.pieces(timescale, table) for table in rows.SERIES] == pieces
    assert differences(golden("80bd6a3c3fa1"), reader.read_catalogue(timescale)) == []
    assert timescale.scalar("SELECT to_regnamespace('opssight_series')") is None
    convert(ctx)
    assert rows.digests(timescale) == before


def test_rows_that_are_copied_back_are_paced_batch_by_batch(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 2_500)
    ctx = context_for()
    convert(ctx)
    paced: list[int] = []
    batches = sum(
        -(-int(rows_in) // 2_000)
        for (rows_in,) in timescale.rows("SELECT count(*) FROM metrics GROUP BY tableoid")
    )

    drive = replace(ctx.drive, pace=lambda: paced.append(1))
    SetUpTimeSeries(frozenset({"metrics"})).undo(replace(ctx, drive=drive))

    assert len(paced) >= batches > 10


def test_an_id_that_stands_twice_is_named_before_anything_is_changed(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 10)
    ctx = context_for()
    convert(ctx)
    timescale.execute("CREATE TEMPORARY TABLE again AS SELECT * FROM metrics WHERE id = 6")
    timescale.execute("UPDATE again SET timestamp = timestamp + interval '1 year'")
    timescale.execute("INSERT INTO metrics SELECT * FROM again")

    with pytest.raises(StepFailedError, match="more than one row with id 6"):
        SetUpTimeSeries().undo(ctx)

    assert timescale.scalar("SELECT count(*) FROM metrics") == 11
    assert hypertables.key_columns(timescale, "metrics") == ("id", "timestamp")
