"""Empty and filled tables become hypertables, and keep what they are."""

from __future__ import annotations

from typing import Any

import pytest
from tests.timescale import rows
from tests.timescale.conftest import ContextFor

from opssight_migrate.model.errors import LockBudgetError, StatementError
from opssight_migrate.model.events import Event, LockTaken, StatementStarted
from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres import carried, conversion, hypertables, reader, standing
from opssight_migrate.postgres import timescale as offers
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.series_ways import Choice, Way
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.steps.base import StepContext
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries, series_of


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


@pytest.mark.parametrize(
    "piece", ["LATE ROWS opssight_series.metrics_late", "ATTACH metrics"], ids=["late", "attach"]
)
def test_rows_that_arrive_between_the_cut_and_the_attach_are_kept_whatever_their_time(
    timescale: Session, context_for: ContextFor, piece: str
) -> None:
    rows.fill(timescale, 100)

    class PullThePlugError(Exception):
        """The process is gone."""

    def die_before_it(event: Event) -> None:
        if isinstance(event, StatementStarted) and event.what == piece:
            raise PullThePlugError

    way = {**ATTACH, "cut_over": "write-available"}
    with pytest.raises(PullThePlugError):
        SetUpTimeSeries().apply(context_for(die_before_it, **way))
    assert timescale.scalar("SELECT count(*) FROM metrics") == 0
    keys = [rows.write_metric(timescale, at) for at in ("2026-03-02", "2020-01-01", "2026-11-25")]
    actual = reader.read_catalogue(timescale)
    assert standing.refused(timescale, "80bd6a3c3fa1", actual) == []
    ctx = context_for(**way)
    assert failures(ctx)[0] == "metrics is not wholly a hypertable yet"

    convert(ctx)

    assert timescale.scalar("SELECT count(*) FROM metrics") == 103
    found = timescale.rows("SELECT id FROM metrics WHERE id = ANY(%s) ORDER BY id", (keys,))
    assert [key for (key,) in found] == keys
    assert standing.altered(timescale, "80bd6a3c3fa1", reader.read_catalogue(timescale)) == []


def test_late_rows_are_brought_home_before_the_scan_since_readers_wait_for_their_chunk(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    events: list[Event] = []

    convert(context_for(events.append, **{**ATTACH, "cut_over": "write-available"}))

    locks = {
        (one.relation, one.mode)
        for at, one in enumerate(events)
        if isinstance(one, LockTaken) and _piece(events[:at]) == "ATTACH metrics"
    }
    assert locks == {("metrics", "SHARE UPDATE EXCLUSIVE")}


def _piece(events: list[Event]) -> str:
    return next(one.what for one in reversed(events) if isinstance(one, StatementStarted))


def test_rows_that_only_a_window_could_move_are_refused_without_one(
    timescale: Session, context_for: ContextFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(timescale, 100)
    old = Offer(installed="2.11.0", reason=None, licence="timescale", has_columnstore=True)
    monkeypatch.setattr("opssight_migrate.postgres.timescale.offered", lambda _: old)
    way: dict[str, Any] = {"defaults": {"stall_budget": "1ms"}}

    with timescale.reading():
        blockers = list(SetUpTimeSeries().preconditions(context_for(**way)))
        granted = list(SetUpTimeSeries().preconditions(context_for(window_s=60.0, **way)))

    assert [one.where for one in blockers] == ["metrics", "log_entries"]
    assert "--window DURATION" in str(blockers[0].hint)
    assert granted == []
    convert(context_for(window_s=60.0, **way))
    assert timescale.scalar("SELECT count(*) FROM metrics") == 100


def test_a_filled_table_is_not_refused_because_the_extension_is_made_by_the_step_itself(
    timescale: Session, context_for: ContextFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(timescale, 100)
    promised = offers.promised("2.23.0", None)
    monkeypatch.setattr("opssight_migrate.postgres.timescale.offered", lambda _: promised)

    with timescale.reading():
        assert list(SetUpTimeSeries().preconditions(context_for(**ATTACH))) == []
        notes = SetUpTimeSeries().estimate(context_for(**ATTACH)).notes

    assert any("metrics: it becomes a chunk as it is" in note for note in notes)


def test_a_window_that_is_too_short_changes_nothing_and_can_be_granted_again(
    timescale: Session, context_for: ContextFor
) -> None:
    ctx = context_for()
    series = series_of(ctx.profile.time_series)[0]

    def canceled(_: float) -> Door:
        raise StatementError("canceling statement due to statement timeout", sqlstate="57014")

    choice = Choice(way=Way.COPY, why="", held_s=1.5)
    with pytest.raises(LockBudgetError, match=r"could not be moved within 1\.5 s"):
        conversion.convert(ctx.ddl, canceled, series, choice)


def test_neither_once_nor_twice_does_a_second_run_change_anything(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    convert(context_for(**ATTACH))
    before = carried.pieces(timescale, "metrics"), rows.digests(timescale)

    convert(context_for(**ATTACH))

    assert (carried.pieces(timescale, "metrics"), rows.digests(timescale)) == before
