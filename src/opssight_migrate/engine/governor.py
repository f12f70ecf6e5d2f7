"""The governor: between batches it asks whom the run hurts, and slows or stops until it does not.

A signal says go, slow or stop. Each bit of time that is waited belongs to one cause, so that
working plus waiting by cause is the whole time of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opssight_migrate.engine.signals import Clock, Reading, Signal, State
from opssight_migrate.model.errors import HeldUpError
from opssight_migrate.model.events import Emit, Noted, Paused, Resumed, unheard

READ_EVERY_S = 0.5

_SLICE_S = 0.25
_LONGEST_WORK_S = 1.0  # what a rest is proportional to: a long step is not rested for
_CALM_S = 1.0
_FIRST_AGAIN_S = 2.0
_AGAIN_S = 10.0
_PG_MONITOR = "GRANT pg_monitor to this role"


@dataclass(slots=True)
class _Episode:
    """A cause that holds the run up, from its first reading to its last."""

    step_id: str
    cause: str
    began: float
    lost_before_s: float
    seen_at: float
    is_stop: bool = False
    times_said: int = 0
    again_at: float = float("-inf")
    stop_said_at: float = float("-inf")

    def is_to_be_said(self, is_stop: bool, now: float) -> bool:
        """Take a reading in, and tell whether it is news, or is to be repeated by now."""
        got_worse = is_stop and not self.is_stop and now - self.stop_said_at >= _FIRST_AGAIN_S
        is_due = now >= self.again_at
        self.seen_at, self.is_stop = now, is_stop
        if is_due:
            self.again_at = now + (_AGAIN_S if self.times_said else _FIRST_AGAIN_S)
            self.times_said += 1
        if is_stop and (is_due or got_worse):
            self.stop_said_at = now
        return is_due or got_worse


class Governor:
    """Paces one run. ``pause_point`` is called while waiting and may raise to stop the run.

    The clock starts when the governor is made; what is not waiting is working. One cause may stop
    the run for ``budget_s``, None for ever.
    """

    def __init__(
        self,
        watched: Sequence[Signal],
        *,
        emit: Emit = unheard,
        pause_point: Callable[[], None] = lambda: None,
        budget_s: float | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._signals = tuple(watched)
        self._emit = emit
        self._pause_point = pause_point
        self._budget_s = budget_s
        self._clock = clock
        self._sleep = sleep
        self._accounted_to = clock()
        self._worked_s = 0.0
        self._lost_s: dict[str, float] = {}
        self._read_at = float("-inf")
        self._worst: tuple[str, Reading] | None = None
        self._episode: _Episode | None = None
        self._noted: set[str] = set()

    def pace(self, step_id: str = "") -> None:
        """Return when the next batch may begin: at once, after a rest, or after a wait.

        Raises: HeldUpError, once the budget is spent; whatever ``pause_point`` raises.
        """
        owed_s: float | None = None
        worked_s = min(self._account(None), _LONGEST_WORK_S)
        while worst := self._look(step_id):
            cause, reading = worst
            if reading.state is State.STOP:
                self._bear(reading)
                self._wait(_SLICE_S, cause)
                owed_s = 0.0
                continue
            if owed_s is None:
                owed_s = worked_s * reading.rest / (1 - reading.rest)
            if owed_s <= 0:
                return
            rest_s = min(owed_s, _SLICE_S)
            self._wait(rest_s, cause)
            owed_s -= rest_s

    def committed(self, commit_s: float) -> None:
        """Tell the signals how long the commit of a batch took."""
        for signal in self._signals:
            signal.committed(commit_s)

    @property
    def worked_s(self) -> float:
        """The time so far that was not lost."""
        return self._worked_s + self._clock() - self._accounted_to

    def lost(self) -> dict[str, float]:
        """Return the seconds lost by cause, the costliest first."""
        return dict(sorted(self._lost_s.items(), key=lambda item: -item[1]))

    def sentence(self) -> str:
        """Say what was lost: "lost 41 s: replica lag 30, long transaction 11"."""
        lost = self.lost()
        if not lost:
            return "lost no time"
        whole = {cause: round(lost_s) for cause, lost_s in lost.items() if round(lost_s)}
        if not whole:
            return f"lost <1 s: {', '.join(lost)}"
        parts = ", ".join(f"{cause} {lost_s}" for cause, lost_s in whole.items())
        return f"lost {sum(whole.values())} s: {parts}"

    def _bear(self, reading: Reading) -> None:
        held_s = self._clock() - self._episode.began if self._episode else 0.0
        if self._budget_s is not None and held_s > self._budget_s:
            raise HeldUpError(
                f"held up for {held_s:.0f} s (governor.budget): {reading.text}",
                hint="the same command goes on from here once that is over",
            )

    def _account(self, cause: str | None) -> float:
        now = self._clock()
        elapsed_s, self._accounted_to = now - self._accounted_to, now
        if cause is None:
            self._worked_s += elapsed_s
        else:
            self._lost_s[cause] = self._lost_s.get(cause, 0.0) + elapsed_s
        return elapsed_s

    def _wait(self, seconds: float, cause: str) -> None:
        self._pause_point()
        try:
            self._sleep(seconds)
        finally:
            self._account(cause)
        self._pause_point()

    def _look(self, step_id: str) -> tuple[str, Reading] | None:
        now = self._clock()
        if now - self._read_at >= READ_EVERY_S:
            self._read_at = now
            self._worst = self._read()
            self._tell(step_id)
        return self._worst

    def _read(self) -> tuple[str, Reading] | None:
        current = self._episode.cause if self._episode else None
        found: list[tuple[State, bool, float, str, Reading]] = []
        for signal in self._signals:
            reading = signal.read()
            if reading.note and signal.name not in self._noted:
                self._noted.add(signal.name)
                self._emit(Noted(severity="note", message=reading.note, hint=_PG_MONITOR))
            if reading.state is not State.GO:
                share = (reading.value or 0.0) / reading.limit
                found.append((reading.state, signal.name == current, share, signal.name, reading))
        if not found:
            return None
        *_, name, reading = max(found, key=lambda one: one[:3])
        return name, reading

    def _tell(self, step_id: str) -> None:
        now, episode = self._clock(), self._episode
        if self._worst is None:
            # A slow run goes in and out of its limit: that is one episode, not fifty.
            if episode and (episode.is_stop or now - episode.seen_at >= _CALM_S):
                self._end(episode)
            return
        cause, reading = self._worst
        if episode and episode.cause != cause:
            self._end(episode)
        if self._episode is None:
            before_s = self._lost_s.get(cause, 0.0)
            self._episode = _Episode(step_id, cause, began=now, lost_before_s=before_s, seen_at=now)
        if self._episode.is_to_be_said(reading.state is State.STOP, now):
            self._say(self._episode, reading, now)

    def _say(self, episode: _Episode, reading: Reading, now: float) -> None:
        how = "stopped until this is over" if reading.state is State.STOP else "going slower"
        self._emit(
            Paused(
                step_id=episode.step_id,
                cause=episode.cause,
                text=f"{how}: {reading.text}",
                since_s=now - episode.began,
            )
        )

    def _end(self, episode: _Episode) -> None:
        self._episode = None
        lost_s = self._lost_s.get(episode.cause, 0.0) - episode.lost_before_s
        self._emit(Resumed(step_id=episode.step_id, cause=episode.cause, lost_s=lost_s))
