"""Progress on a terminal: one line that moves, and a line that stays for each finished step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from opssight_migrate.model import events as told
from opssight_migrate.model.events import Event
from opssight_migrate.render.activity import LOCK_AGAIN_S, Activity, Sparing
from opssight_migrate.render.folding import folded
from opssight_migrate.render.phrases import duration, event_line

_BAR_COLUMNS = 20
_FRAMES = "|/-\\"
_STYLES = {"warning": "bold magenta", "note": "dim"}  # to be read on black and on white


class ConsoleProgress:
    """A live line on a terminal. Text from the database is never markup here."""

    def __init__(
        self,
        stream: TextIO,
        *,
        title: str = "reading the database",
        color: bool = True,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._verbose = verbose
        self._activity = Activity(clock, title)
        self._console = Console(
            file=stream, no_color=not color, markup=False, highlight=False, emoji=False
        )
        self._sparing = Sparing(clock)
        self._live: Live | None = None

    def start(self) -> None:
        """Show the moving line until the plan stands, and again while the run goes on."""
        if self._live is not None:
            return
        live = Live(
            console=self._console,
            get_renderable=self._line,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        self._live = live

    def close(self) -> None:
        """Take the moving line away."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def emit(self, event: Event) -> None:
        """Show ``event``: in the moving line, or as a line that stays."""
        self._activity.follow(event)
        if self._activity.work is None:
            self.close()  # a question or the result comes next, and needs the screen
        else:
            self.start()
        if line := self._lasting(event):
            style = _STYLES.get(event.severity, "") if isinstance(event, told.Noted) else ""
            pieces = "\n".join(folded(line, self._console.width))
            self._console.print(Text(pieces, style=style), soft_wrap=True)

    def _lasting(self, event: Event) -> str | None:
        match event:
            case (
                told.Noted(severity="note")
                | told.StatementStarted()
                | told.LockTaken()
                | told.RunStarted()
            ):
                return event_line(event) if self._verbose else None
            case (
                told.Noted()
                | told.StopRequested()
                | told.Paused()
                | told.Resumed()
                | told.ForecastCorrected()
            ):
                return event_line(event)
            case told.LockAwaited():
                key = (event.step_id, event.relation, event.mode)
                return event_line(event) if self._sparing.is_time(key, LOCK_AGAIN_S) else None
            case told.StepFinished():
                return "  " + (event_line(event) or "")
            case _:
                return None

    def _line(self) -> Table:
        now, work = self._clock(), self._activity.work
        grid = Table.grid(
            Column(no_wrap=True, overflow="ellipsis", ratio=1),
            Column(no_wrap=True),
            Column(no_wrap=True, justify="right"),
            padding=(0, 1),
            expand=True,
        )
        if work is None:
            return grid
        frame = Text(f"{_FRAMES[int(now * 8) % len(_FRAMES)]} {work.title}")
        total = work.rows_total
        bar = (
            ProgressBar(
                total=max(total, work.rows_done),
                completed=work.rows_done,
                width=_BAR_COLUMNS,
                style="dim",
                complete_style="bold",
                finished_style="bold",
            )
            if total
            else Text("")
        )
        age = duration(now - work.began)
        details = work.details(now)
        grid.add_row(frame, bar, Text(f"{details}, {age}" if details else age))
        return grid
