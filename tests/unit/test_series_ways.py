"""Which way a table becomes a hypertable: by its rows, the version and the licence."""

from __future__ import annotations

import pytest

from opssight_migrate.postgres.series_ways import Choice, CutOver, Grants, Way, choose
from opssight_migrate.postgres.timescale import Offer

COMMUNITY = Offer(
    installed="2.23.0",
    reason=None,
    licence="timescale",
    attaches=True,
    has_columnstore=True,
)
APACHE = Offer(installed="2.23.0", reason=None, licence="apache")
OLD = Offer(installed="2.11.0", reason=None, licence="timescale")
UNKNOWN = Offer(installed="2.23.0", reason=None, licence=None)


def chosen(
    offer: Offer,
    rows: int,
    *,
    window_s: float | None = None,
    cut_over: CutOver = "auto",
    is_bound: bool = False,
) -> Choice:
    grants = Grants(stall_s=0.5, window_s=window_s, cut_over=cut_over)
    return choose(offer, rows, grants, is_bound=is_bound)


@pytest.mark.parametrize(
    ("offer", "rows", "window_s", "way"),
    [
        (COMMUNITY, 0, None, Way.EMPTY),
        (OLD, 0, None, Way.EMPTY),
        (OLD, 20_000, None, Way.COPY),
        (COMMUNITY, 20_001, None, Way.ATTACH),
        (COMMUNITY, 2_000_000, 600.0, Way.ATTACH),
        (APACHE, 2_000_000, None, Way.REFUSED),
        (APACHE, 2_000_000, 600.0, Way.COPY),
        (UNKNOWN, 2_000_000, None, Way.REFUSED),
        (OLD, 2_000_000, None, Way.REFUSED),
        (OLD, 2_000_000, 600.0, Way.COPY),
    ],
)
def test_the_way_follows_from_rows_version_and_licence(
    offer: Offer, rows: int, window_s: float | None, way: Way
) -> None:
    choice = chosen(offer, rows, window_s=window_s)

    assert choice.way is way


@pytest.mark.parametrize(
    ("cut_over", "rows", "write_available"),
    [
        ("auto", 400_000, False),
        ("auto", 2_000_000, True),
        ("atomic", 2_000_000, False),
        ("write-available", 400_000, True),
    ],
)
def test_nobody_waits_for_a_scan_that_would_be_noticed_unless_configured_so(
    cut_over: CutOver, rows: int, write_available: bool
) -> None:
    choice = chosen(COMMUNITY, rows, cut_over=cut_over)

    assert choice.write_available is write_available
    assert ("everybody waits" in choice.why) is not write_available


def test_a_window_bounds_the_lock_and_its_lack_is_explained() -> None:
    granted = chosen(OLD, 2_000_000, window_s=600.0)
    refused = chosen(OLD, 2_000_000)

    assert (granted.held_s, granted.locked_s) == (600.0, 600.0)
    assert "TimescaleDB 2.11.0, licence timescale cannot adopt a table" in refused.why
    assert "about 25 s" in refused.why


def test_what_stands_on_the_table_makes_everybody_wait_for_the_scan_and_the_plan_says_so() -> None:
    short = chosen(COMMUNITY, 2_000_000, is_bound=True)
    long = chosen(COMMUNITY, 20_000_000, is_bound=True)
    granted = chosen(COMMUNITY, 20_000_000, is_bound=True, window_s=60.0)

    assert (short.way, short.write_available) == (Way.ATTACH, False)
    assert "everybody waits for it, since a trigger or a foreign key of others" in short.why
    assert long.way is Way.REFUSED
    assert "longer than stall_budget" in long.why
    assert (granted.way, granted.held_s) == (Way.ATTACH, 60.0)


def test_only_the_community_licence_compresses() -> None:
    assert [offer.compresses for offer in (COMMUNITY, APACHE, UNKNOWN)] == [True, False, False]
