"""The single sentences: durations, counts, locks, and characters that cannot be seen."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from opssight_migrate.model.events import (
    Blocked,
    Event,
    LockAwaited,
    LockTaken,
    Victim,
)
from opssight_migrate.render import phrases
from opssight_migrate.render.phrases import counted, duration, event_line
from opssight_migrate.render.visible import sound, visible, visible_lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.02, "<1 s"),
        (4.21, "4.2 s"),
        (31.4, "31 s"),
        (59.7, "1 min"),
        (125, "2 min 5 s"),
        (3_840, "1 h 4 min"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nouns_are_counted_as_english_does() -> None:
    assert [counted(n, "index") for n in (0, 1, 1_000)] == ["0 indexes", "1 index", "1,000 indexes"]


def test_a_lock_line_says_who_blocks_since_when_and_what_happens_next() -> None:
    blocked = Blocked(pid=81, user="app", application="psql", age_s=125, query="SELECT\n  1")
    event = LockAwaited(
        step_id="a",
        relation="users",
        mode="ACCESS EXCLUSIVE",
        waited_s=2,
        budget_s=300,
        blockers=(blocked,) * 5,
    )
    line = event_line(event)
    one = "pid 81 app psql for 2 min 5 s with: SELECT 1"
    assert line == (
        f"waiting 2.0 s for ACCESS EXCLUSIVE on users: held by {one}; {one}; {one} and 2 more; "
        "nobody queues behind us; giving up in 4 min 58 s"
    )


def test_a_receipt_says_what_a_lock_cost_and_whom() -> None:
    event = LockTaken(
        step_id="85f9e3f15142",
        relation="users",
        mode="ACCESS EXCLUSIVE",
        waited_ms=1_200,
        held_ms=7,
        victims=(Victim(pid=9, application="api", waited_ms=5),),
    )
    assert event_line(event) == (
        "85f9e3f15142: ACCESS EXCLUSIVE on users: waited 1,200 ms, held 7 ms; "
        "pid 9 api waited 5 ms for us"
    )


def test_every_event_has_a_sentence_of_its_own() -> None:
    source = inspect.getsource(phrases)
    for event in get_args(Event):
        assert f"told.{event.__name__}()" in source


def test_control_characters_are_made_visible_and_letters_of_all_scripts_stay() -> None:
    assert visible("Zoë 東京 naïve") == "Zoë 東京 naïve"
    assert visible("a\tb\x00\x9b\U000e0041") == "a\\tb\\x00\\x9b\\U000e0041"
    assert visible_lines("a\r\nb") == ["a", "b"]
    assert sound("a\udcffb") == "a\\udcffb"
