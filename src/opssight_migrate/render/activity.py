"""What is going on at present, put together from the events: the step, its rows, its speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opssight_migrate.model import events as told
from opssight_migrate.model.events import Event
from opssight_migrate.render.phrases import backup_line, duration, rows_of
from opssight_migrate.render.visible import visible

# How often the same wait for a lock is told again as a line of its own.
LOCK_AGAIN_S = 10.0

# A speed measured over less than this says nothing about the time that is left.
_SHORTEST_MEASURE_S = 2.0


class Sparing:
    """Remembers when something was last said, so that it is not said again too soon."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[object, float] = {}

    def is_time(self, key: object, every_s: float) -> bool:
        """Tell whether ``key`` may be said now; if so, it counts as said."""
        now = self._clock()
        if now - self._last.get(key, float("-inf")) < every_s:
            return False
        self._last[key] = now
        return True


@dataclass(slots=True)
class Work:
    """One thing being done. ``rows_now`` counts this run alone: the speed comes from it."""

    title: str
    began: float
    what: str | None = None
    rows_done: int = 0
    rows_total: int | None = None
    rows_now: int = 0
    waiting: str | None = None

    def rows_per_s(self, now: float) -> float | None:
        """Return the speed of this run, or None while it cannot be told."""
        elapsed = now - self.began
        return self.rows_now / elapsed if self.rows_now and elapsed > 0 else None

    def left_s(self, now: float) -> float | None:
        """Return the seconds that are left at this speed, or None while it cannot be told."""
        speed = self.rows_per_s(now)
        if not speed or self.rows_total is None or now - self.began < _SHORTEST_MEASURE_S:
            return None
        return max(self.rows_total - self.rows_done, 0) / speed

    def details(self, now: float) -> str:
        """Say rows, speed and time left, or the statement at work, or who is in the way."""
        if self.waiting:
            return self.waiting
        parts = [rows_of(self.rows_done, self.rows_total)] if self.rows_done else []
        speed, left = self.rows_per_s(now), self.left_s(now)
        parts += [f"{speed:,.0f} rows/s"] if speed else []
        parts += [f"about {duration(left)} left"] if left is not None else []
        parts += [self.what] if self.what and not parts else []
        return ", ".join(parts)


class Activity:
    """Follows the events. ``work`` is None while nothing runs: during the question, at the end."""

    def __init__(self, clock: Callable[[], float], title: str) -> None:
        self._clock = clock
        self.work: Work | None = Work(title=title, began=clock())

    def follow(self, event: Event) -> None:
        """Take ``event`` into account."""
        match event:
            case told.PlanMade() | told.RunFinished():
                self.work = None
            case told.RunStarted():
                self._begin("starting")
            case told.StepStarted():
                name = f"step {event.number}/{event.steps_total} {event.step_id} {event.title}"
                self._begin(visible(name))
            case told.StepFinished():
                self._begin("going on")
            case told.BackupStarted():
                self._begin("making the backup")
            case told.BackupMade():
                self._begin("starting")
            case told.CheckStarted():
                self._begin(f"check {event.number}/{event.checks_total} {event.check_id}")
            case told.ProofStarted():
                self._begin("comparing with the rows before")
            case _ if self.work is not None:
                _note(self.work, event)

    def _begin(self, title: str) -> None:
        self.work = Work(title=title, began=self._clock())


def _note(work: Work, event: Event) -> None:
    match event:
        case told.LockAwaited():
            pids = ", ".join(f"pid {blocked.pid}" for blocked in event.blockers[:1])
            what = f"{event.mode} on {event.relation}"
            behind = f" behind {pids}" if pids else ""
            work.waiting = visible(f"waiting {duration(event.waited_s)} for {what}{behind}")
        case told.Paused():
            work.waiting = visible(event.text)
        case told.Resumed():
            work.waiting = None
        case told.StatementStarted():
            work.what, work.waiting = visible(event.what), None
        case told.BackupProgressed():
            work.what, work.waiting = backup_line(event), None
        case told.TableCompared():
            work.what, work.waiting = visible(event.table), None
        case told.LockTaken():
            work.waiting = None
        case told.BatchDone():
            work.rows_done, work.rows_total = event.rows_done, event.rows_total
            work.rows_now += event.batch_rows
            work.waiting = None
        case _:
            pass
