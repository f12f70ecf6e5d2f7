"""Progress without a terminal: silent while short, alive while long, and only plain characters."""

from __future__ import annotations

import io
import threading

from opssight_migrate.model.events import (
    BatchDone,
    Blocked,
    CheckStarted,
    Event,
    LockAwaited,
    Noted,
    PlanMade,
    RunFinished,
    RunStarted,
    StatementStarted,
    StepFinished,
    StepStarted,
    StopRequested,
)
from opssight_migrate.model.plan import DatabaseFacts, Plan
from opssight_migrate.render.plain import OnlyWarnings, PlainProgress


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


STARTED = StepStarted(step_id="fill", title="Fill the rows", number=2, steps_total=7)
FINISHED = StepFinished(step_id="fill", title="Fill the rows", rows=20, elapsed_s=3.0)
WAITS = LockAwaited(
    step_id="fill",
    relation="users",
    mode="ACCESS EXCLUSIVE",
    waited_s=0.3,
    budget_s=300,
    blockers=(Blocked(pid=8123),),
)
PLAN_MADE = PlanMade(
    plan=Plan(
        environment="local",
        protected=False,
        origin="o",
        database=DatabaseFacts(
            host="h",
            port=1,
            name="n",
            user="u",
            server_version="16",
            system_identifier="7",
            database_oid=1,
        ),
        revision_from=None,
        revision_to="a",
        steps=(),
    )
)


def batch(done: int, rows: int = 1_000, title: str = "fill") -> BatchDone:
    return BatchDone(
        step_id=title,
        table="users",
        rows_done=done,
        rows_total=312_004,
        batch_rows=rows,
        elapsed_s=0.1,
    )


def test_a_clean_run_within_ten_seconds_writes_nothing() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    for event in (PLAN_MADE, RunStarted(run_id="m1", resumes=None, steps_total=7), STARTED):
        progress.emit(event)
    clock.now += 9.9
    progress.tick()
    for late in (batch(1_000), FINISHED, RunFinished(run_id="m1", status="ok", elapsed_s=9.9)):
        progress.emit(late)
    assert stream.getvalue() == ""


def test_warnings_waits_and_signals_are_told_at_once() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, clock=Clock())
    progress.emit(Noted(severity="note", message="not this"))
    progress.emit(Noted(severity="warning", message="look", code="OM310", hint="do"))
    progress.emit(WAITS)
    progress.emit(StopRequested(signal_name="SIGINT"))
    assert stream.getvalue().splitlines() == [
        "warning[OM310]: look (do)",
        "waiting <1 s for ACCESS EXCLUSIVE on users: held by pid 8123; "
        "nobody queues behind us; giving up in 5 min",
        "SIGINT: stopping after the current batch",
    ]


def test_a_long_step_has_a_heartbeat_after_10_s_30_s_and_then_each_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.emit(STARTED)
    beats: list[float] = []
    for _ in range(4 * 200):
        clock.now += 0.25
        before = len(stream.getvalue())
        progress.tick()
        if len(stream.getvalue()) > before:
            beats.append(clock.now - 100)
    assert beats == [10, 30, 60, 120, 180]
    assert stream.getvalue().splitlines()[0] == (
        "step 2/7 fill Fill the rows: still at work after 10 s"
    )


def test_the_heartbeat_tells_rows_speed_and_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.emit(STARTED)
    clock.now += 10
    progress.emit(batch(112_004, rows=100_000))
    progress.tick()
    assert stream.getvalue() == (
        "step 2/7 fill Fill the rows: still at work after 10 s, "
        "112,004 of 312,004 rows, 10,000 rows/s, about 20 s left\n"
    )


def test_short_steps_of_a_long_run_are_told_once_ten_seconds_are_over() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    for number in range(1, 5):
        progress.emit(StepStarted(step_id=f"s{number}", title="t", number=number, steps_total=4))
        for _ in range(4):
            clock.now += 1
            progress.tick()
        progress.emit(StepFinished(step_id=f"s{number}", title="t", rows=None, elapsed_s=4))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 3/4 s3 t: still at work after 2.0 s"
    assert lines[1:] == ["s3: done, 4.0 s", "step 4/4 s4 t", "s4: done, 4.0 s"]


def test_a_verification_that_takes_long_says_at_which_check_it_is() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    for number, check_id in enumerate(("quick", "slow", "last"), start=1):
        progress.emit(
            CheckStarted(check_id=check_id, title="It is so", number=number, checks_total=3)
        )
        clock.now += 5 if check_id == "quick" else 12
        progress.tick()
    assert stream.getvalue().splitlines() == [
        "check 2/3 slow: still at work after 12 s",
        "check 3/3 last  It is so",
        "check 3/3 last: still at work after 12 s",
    ]


def test_nothing_beats_while_a_question_is_open() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.emit(PLAN_MADE)
    clock.now += 3_600
    progress.tick()
    assert stream.getvalue() == ""


def test_lines_come_at_once_when_plain_was_asked_for_and_batches_once_a_second() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, at_once=True, clock=clock)
    progress.emit(STARTED)
    for number in range(1, 31):
        clock.now += 0.1
        progress.emit(batch(number * 1_000))
    progress.emit(FINISHED)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 2/7 fill Fill the rows"
    assert lines[-1] == "fill: done, 20 rows, 3.0 s"
    assert 3 <= len(lines) - 2 <= 4
    assert lines[1] == "fill: 1,000 of 312,004 rows of users"


def test_a_long_wait_is_not_told_at_every_look() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    for _ in range(100):
        progress.emit(WAITS)
        clock.now += 0.25
    assert stream.getvalue().count("waiting") == 3


def test_the_heartbeat_of_a_wait_says_for_what_and_behind_whom() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, clock=clock)
    progress.emit(STARTED)
    progress.emit(WAITS)
    clock.now += 10
    progress.tick()
    assert stream.getvalue().endswith(
        "10 s, waiting <1 s for ACCESS EXCLUSIVE on users behind pid 8123\n"
    )


def test_plain_lines_have_no_escape_no_box_and_no_wrapping() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, at_once=True, verbose=True, clock=Clock())
    events: tuple[Event, ...] = (
        StatementStarted(step_id="a", what="\x1b[31m" + "long " * 500 + "[/x]"),
        Noted(severity="warning", message="[red]" + "y" * 900),
        STARTED,
        batch(5),
        FINISHED,
    )
    for event in events:
        progress.emit(event)
    raw = stream.getvalue().encode()
    assert b"\x1b" not in raw
    assert raw.count(b"\n") == len(events)
    assert not any(0x2500 <= ord(c) <= 0x25FF for c in stream.getvalue())
    assert b"\\x1b[31m" + b"long " * 500 + b"[/x]" in raw
    assert b"[red]" + b"y" * 900 in raw


def test_the_heart_beats_in_its_own_thread_and_stops_with_it() -> None:
    clock, stream, ticked = Clock(), io.StringIO(), threading.Event()
    stop = threading.Event()

    def wait(seconds: float) -> bool:
        clock.now += 5
        if stream.getvalue():
            ticked.set()
            return stop.wait(5)
        return False

    progress = PlainProgress(stream, clock=clock, wait=wait)
    progress.emit(STARTED)
    progress.start()
    assert ticked.wait(5)
    stop.set()
    progress.close()
    assert "still at work after 10 s" in stream.getvalue()
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_a_closed_stream_ends_the_heart_quietly() -> None:
    clock, stream = Clock(), io.StringIO()

    def wait(seconds: float) -> bool:
        clock.now += 5
        return False

    progress = PlainProgress(stream, clock=clock, wait=wait)
    stream.close()
    progress.start()
    progress.close()
    assert not any(thread.name == "heartbeat" for thread in threading.enumerate())


def test_without_progress_only_warnings_are_left() -> None:
    stream = io.StringIO()
    progress = OnlyWarnings(stream)
    progress.start()
    for event in (STARTED, WAITS, Noted(severity="note", message="n"), FINISHED):
        progress.emit(event)
    assert stream.getvalue() == ""
    progress.emit(Noted(severity="warning", message="w"))
    progress.close()
    assert stream.getvalue() == "warning: w\n"
