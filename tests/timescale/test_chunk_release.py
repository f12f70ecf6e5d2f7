"""After ``cleanup --chunks`` an adopted chunk is many, compressed, and its policies run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.timescale import rows
from tests.timescale.conftest import ContextFor, OneConnection
from tests.timescale.test_conversion import ATTACH, convert, failures
from tests.timescale.test_policies import found, told

from opssight_migrate.engine import chunk_retirements
from opssight_migrate.engine.chunk_retirements import Look
from opssight_migrate.model.errors import LockBudgetError
from opssight_migrate.model.events import Event, StatementStarted
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import (
    carried,
    chunk_release,
    hypertables,
    reader,
    series_policies,
    standing,
)
from opssight_migrate.postgres.drift import differences
from opssight_migrate.postgres.locks import Door, Wanted
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer, offered
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries, series_of

_WIDEST = """
SELECT max(range_end - range_start) FROM timescaledb_information.chunks
 WHERE hypertable_name = 'metrics'
"""
_FAR: dict[str, Any] = {"compress_after": {"metrics": "3650d", "log_entries": "3650d"}}


def look(ctx: OneConnection) -> Look:
    with ctx.session.reading():
        return chunk_retirements.look(ctx, lambda: None)


def release(ctx: OneConnection) -> None:
    found = look(ctx)
    assert found.blockers == ()
    for thing in found.things:
        thing.work()


def compressed(session: Session) -> list[bool]:
    return [chunk.compressed for chunk in hypertables.chunks(session, "metrics")]


def test_the_chunk_is_compressed_split_and_its_policies_run(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    convert(context_for(**ATTACH))
    before, pieces = rows.digests(timescale), carried.pieces(timescale, "metrics")
    events: list[Event] = []
    ctx = context_for(events.append)

    planned = look(ctx)
    release(ctx)

    first = planned.things[0]
    assert first.id == "adopted chunk opssight_series.metrics"
    assert first.title == (
        "compressed for about 1 s, while reads go on and writes to its rows wait, at most for"
        " stall_budget, then split into at most 3 chunks of 7 days, then its policies run"
    )
    assert "copies its rows back in batches" in first.notes[0]
    asked = [event.what for event in events if isinstance(event, StatementStarted)]
    assert asked[0] == "COMPRESS opssight_series.metrics"
    assert compressed(timescale) == [True, True, True]
    assert timescale.scalar(_WIDEST) <= ctx.profile.time_series.chunk_interval
    assert rows.digests(timescale) == before
    assert carried.lacking(pieces, carried.pieces(timescale, "metrics")) == []
    assert hypertables.adopted(timescale, "metrics") is None
    assert not series_policies.read(timescale, "metrics").held
    assert failures(ctx) == []
    assert told(found(timescale, probing=True)) == []
    assert standing.altered(timescale, "80bd6a3c3fa1", reader.read_catalogue(timescale)) == []
    assert look(ctx) == Look()


def test_a_reader_who_is_in_the_way_at_the_end_costs_one_more_try_and_no_row(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    convert(context_for(**ATTACH))
    before = rows.digests(timescale)
    ctx = context_for()

    class Retried(Door):
        """A door whose first try does all the work, and then meets somebody's lock."""

        def through(self, wanted: tuple[Wanted, ...], work: Callable[[], None]) -> None:
            with self.session.trying():
                work()
            super().through(wanted, work)

    offer, series = offered(timescale), series_of(ctx.profile.time_series)[0]
    after = ctx.profile.time_series.compress_after.metrics
    one = chunk_release.Release(series=series, offer=offer, compress_after=after)
    chunk_release.carry_out(timescale, Retried(timescale), one, lambda: None)

    assert all(compressed(timescale))
    assert rows.digests(timescale) == before


@pytest.mark.parametrize("piece", ["SPLIT", "RENAME"])
def test_a_run_that_dies_on_the_way_is_gone_on_with_and_leads_back_all_the_same(
    timescale: Session, context_for: ContextFor, piece: str
) -> None:
    rows.fill(timescale, 700)
    convert(context_for(**ATTACH))
    before = rows.digests(timescale)

    class PullThePlugError(Exception):
        """The process is gone."""

    asked: list[str] = []

    def die(event: Event) -> None:
        if isinstance(event, StatementStarted):
            asked.append(event.what)
            if sum(one.startswith(piece) for one in asked) == (2 if piece == "SPLIT" else 1):
                raise PullThePlugError

    with pytest.raises(PullThePlugError):
        release(context_for(die))
    assert rows.digests(timescale) == before
    assert series_policies.read(timescale, "metrics").held

    release(context_for())

    assert rows.digests(timescale) == before
    assert all(compressed(timescale))
    assert not series_policies.read(timescale, "metrics").held


def test_afterwards_a_rollback_copies_every_row_back_and_says_so_first(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    ctx = context_for(**ATTACH)
    convert(ctx)
    with timescale.reading():
        whole = SetUpTimeSeries().undo_estimate(ctx)
    release(context_for())
    rows.write_metric(timescale, "2026-03-04 12:00")
    rows.write_metric(timescale, "2031-01-01")
    before = rows.digests(timescale)
    timescale.execute("ANALYZE")
    with timescale.reading():
        split = SetUpTimeSeries().undo_estimate(ctx)

    SetUpTimeSeries().undo(ctx)

    assert whole.notes[0] == "time series: metrics: its chunk becomes the table again"
    assert "rows are copied back in batches" in split.notes[0]
    assert rows.digests(timescale) == before
    assert before["metrics"][0] == 402
    assert differences(golden("80bd6a3c3fa1"), reader.read_catalogue(timescale)) == []
    assert timescale.scalar("SELECT to_regnamespace('opssight_series')") is None
    convert(ctx)
    assert rows.digests(timescale) == before


def test_a_chunk_too_young_to_be_compressed_waits_or_is_split_in_a_window(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    convert(context_for(**ATTACH, **_FAR))
    before = rows.digests(timescale)

    waiting = look(context_for(defaults=ATTACH["defaults"], **_FAR))
    assert (waiting.things, waiting.blockers) == ((), ())
    assert "from 2036-" in waiting.waiting[0]
    assert "cleanup --chunks --window DURATION" in waiting.waiting[0]

    release(context_for(window_s=60.0, defaults=ATTACH["defaults"], **_FAR))

    assert compressed(timescale) == [False, False, False]
    assert rows.digests(timescale) == before
    assert told(found(timescale, context_for(**_FAR).profile.time_series)) == []


def test_a_chunk_that_is_never_compressed_is_refused_without_a_window_and_bounded_by_it(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    timescale.execute("ALTER TABLE metrics ENABLE ROW LEVEL SECURITY")
    convert(context_for(**ATTACH))

    blockers = look(context_for(defaults=ATTACH["defaults"])).blockers

    assert [one.where for one in blockers] == ["opssight_series.metrics"]
    assert "cleanup --chunks --window DURATION" in str(blockers[0].hint)
    with pytest.raises(LockBudgetError, match="is not split yet"):
        look(context_for(window_s=0.01)).things[0].work()
    assert hypertables.adopted(timescale, "metrics") is not None
    release(context_for(window_s=60.0))
    assert compressed(timescale) == [False, False, False]


def test_intervals_without_a_row_get_no_chunk_of_their_own(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 400)
    rows.write_metric(timescale, "1970-01-01")
    convert(context_for(**ATTACH))

    release(context_for())

    assert len(hypertables.chunks(timescale, "metrics")) == 4


def test_where_neither_splits_nor_compression_can_be_had_the_chunk_stays(
    timescale: Session, context_for: ContextFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(timescale, 100)
    convert(context_for(**ATTACH))
    apache = Offer(installed="2.23.0", reason=None, licence="apache")
    monkeypatch.setattr("opssight_migrate.postgres.timescale.offered", lambda _: apache)

    assert look(context_for()).waiting == (
        "metrics: TimescaleDB 2.23.0, licence apache can neither split nor compress its adopted"
        " chunk",
        "log_entries: TimescaleDB 2.23.0, licence apache can neither split nor compress its adopted"
        " chunk",
    )
    assert chunk_release.pieces(timescale, "metrics") != ()
