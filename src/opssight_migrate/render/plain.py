"""Progress as lines of plain text: for logs, pipes, CI and screen readers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

from opssight_migrate.model import events as told
from opssight_migrate.model.events import Event
from opssight_migrate.render.activity import LOCK_AGAIN_S, Activity, Sparing, Work
from opssight_migrate.render.phrases import duration, event_line

_SILENT_S = 10.0
_BEATS_S = (10.0, 30.0)
_EVERY_S = 60.0
_LOOK_S = 0.25
_BATCH_AGAIN_S = 1.0


class PlainProgress:
    """Writes whole lines to ``stream``, never wrapped, cut or coloured.

    Nothing is written in the first ten seconds but warnings, waits for a lock and the answer to a
    signal, unless ``at_once``. After them a step that runs long has a heartbeat. ``wait`` sleeps
    for so many seconds and tells whether to stop.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        title: str = "reading the database",
        at_once: bool = False,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._activity = Activity(clock, title)
        self._began = clock()
        self._is_open = at_once
        self._beats = (self._began, 0)
        self._sparing = Sparing(clock)
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Let the heart beat until ``close``."""
        self._heart.start()

    def emit(self, event: Event) -> None:
        """Write the line of ``event``, if it is due."""
        with self._writing:
            self._activity.follow(event)
            if self._is_due(event) and (line := event_line(event)):
                self._write(line)

    def tick(self) -> None:
        """Write a heartbeat line, if it is due."""
        with self._writing:
            now, work = self._clock(), self._activity.work
            opening = not self._is_open and now - self._began >= _SILENT_S
            self._is_open = self._is_open or opening
            if work is None:
                return
            began, beats = self._beats if self._beats[0] == work.began else (work.began, 0)
            due = 0
            while now - began >= _beat_s(due):
                due += 1
            self._beats = (began, max(beats, due))
            if opening or due > beats:
                self._write(_heartbeat(work, now))

    def close(self) -> None:
        """Stop the heart. Nothing is written after this returns."""
        self._stop.set()
        if self._heart.ident is not None:
            self._heart.join()

    def _beat(self) -> None:
        try:
            while not self._wait(_LOOK_S):
                self.tick()
        except (OSError, ValueError):
            return  # the stream is gone: there is nobody to tell, and nothing to stop for

    def _is_due(self, event: Event) -> bool:
        match event:
            case told.Noted(severity="note"):
                return self._verbose or self._is_open
            case told.Noted() | told.StopRequested() | told.Paused() | told.Resumed():
                return True
            case told.LockAwaited():
                key = (event.step_id, event.relation, event.mode)
                return self._sparing.is_time(key, LOCK_AGAIN_S)
            case told.BatchDone():
                return self._is_open and self._sparing.is_time(event.step_id, _BATCH_AGAIN_S)
            case (
                told.StatementStarted()
                | told.ConversionBegun()
                | told.TableCompared()
                | told.LockTaken()
            ):
                return self._is_open and self._verbose
            case _:
                return self._is_open

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _beat_s(number: int) -> float:
    """Return the age at which the heartbeat ``number`` is due: 10 s, 30 s, 60 s, 120 s, …"""
    if number < len(_BEATS_S):
        return _BEATS_S[number]
    return (number - len(_BEATS_S) + 1) * _EVERY_S


def _heartbeat(work: Work, now: float) -> str:
    details, age_s = work.details(now), now - work.began
    if age_s < 1:  # the whole was silent for long enough, and this has only begun
        return work.title
    line = f"{work.title}: still at work after {duration(age_s)}"
    return f"{line}, {details}" if details else line


class OnlyWarnings:
    """Writes warnings and the answer to a signal, and no progress at all."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def start(self) -> None:
        """Do nothing: there is no heart."""

    def emit(self, event: Event) -> None:
        """Write ``event``, if it is a warning."""
        match event:
            case told.Noted(severity="note"):
                return
            case told.Noted() | told.StopRequested():
                self._stream.write(f"{event_line(event)}\n")
                self._stream.flush()
            case _:
                return

    def close(self) -> None:
        """Do nothing."""
