"""Progress on a terminal: what stays on the screen, and that no text is markup."""

from __future__ import annotations

import io
import time

from opssight_migrate.model.events import (
    BatchDone,
    Blocked,
    Event,
    LockAwaited,
    Noted,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
)
from opssight_migrate.render.console import ConsoleProgress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


HOSTILE = "ARRAY[red] [/x] :smile: \x1b[2J"
EVENTS: tuple[Event, ...] = (
    RunStarted(run_id="m1", resumes=None, steps_total=1),
    StepStarted(step_id="fill", title=HOSTILE, number=1, steps_total=1),
    BatchDone(
        step_id="fill", table="t", rows_done=1_000, rows_total=900, batch_rows=1_000, elapsed_s=1
    ),
    Noted(severity="warning", message=HOSTILE),
    StepFinished(step_id="fill", title=HOSTILE, rows=1_000, elapsed_s=3.0),
    RunFinished(run_id="m1", status="ok", elapsed_s=3.0),
)


def shown(*, color: bool) -> str:
    stream = Terminal()
    progress = ConsoleProgress(stream, color=color, clock=lambda: 100.0)
    progress.start()
    for event in EVENTS:
        progress.emit(event)
        if isinstance(event, BatchDone):
            time.sleep(0.4)  # the line is drawn eight times a second
    progress.close()
    return stream.getvalue()


def test_text_from_the_database_is_text_on_a_terminal_too() -> None:
    text = shown(color=True)
    assert "\x1b[2J" not in text
    assert "ARRAY[red] [/x] :smile: \\x1b[2J" in text


def test_finished_steps_and_warnings_stay() -> None:
    text = shown(color=False)
    assert "  fill: done, 1,000 rows, 3.0 s" in text
    assert "warning: ARRAY" in text
    assert "1,000 of 1,000 rows" in text  # an estimate that was too low is not shown as passed


def test_a_wait_for_a_lock_is_told_in_full_once_and_then_in_the_line() -> None:
    stream = Terminal()
    progress = ConsoleProgress(stream, color=False, clock=lambda: 100.0)
    progress.emit(EVENTS[1])
    for waited_s in (0.5, 1.5):
        progress.emit(
            LockAwaited(
                step_id="fill",
                relation="users",
                mode="SHARE",
                waited_s=waited_s,
                budget_s=300,
                blockers=(Blocked(pid=8123, query="SELECT " + "x" * 100),),
            )
        )
    progress.close()
    full = "held by pid 8123 with: SELECT " + "x" * 100 + "; nobody queues behind us"
    assert " ".join(stream.getvalue().split()).count(full) == 1  # folded to the terminal
    assert "behind pid 8123" in stream.getvalue()


def test_never_leaves_out_the_colours() -> None:
    assert "\x1b[1;35m" in shown(color=True)
    assert "\x1b[1;35m" not in shown(color=False)
