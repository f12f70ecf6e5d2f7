"""The signals of the governor: each watches one thing that a run may hurt, and has its limit."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import psutil

from opssight_migrate.postgres import signals
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.settings import Governor

Clock = Callable[[], float]

MEBIBYTE = 1 << 20

_MOST_REST = 0.9


class State(IntEnum):
    """What a signal asks for, the worst last."""

    GO = 0
    SLOW = 1
    STOP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a signal says. ``value`` is None where there is none, or none that we may see.

    ``rest`` is the share of the time, 0 to 0.9, to wait while slow; ``note`` is for the operator
    to hear once, such as that something is not visible.
    """

    state: State
    value: float | None
    limit: float
    text: str
    rest: float = 0.0
    note: str | None = None


class Signal(ABC):
    """One thing that a run may hurt. ``name`` is the cause to which lost time is accounted."""

    name: str

    @abstractmethod
    def read(self) -> Reading:
        """Say how it is now; called twice a second, so it must be cheap."""

    def committed(self, commit_s: float) -> None:
        """Hear how long the commit of a batch took."""
        del commit_s


def usual_signals(monitor: Monitor, limits: Governor) -> tuple[Signal, ...]:
    """Return the signals of every run, with the limits of its profile."""
    return (
        ReplicaLag(
            monitor,
            limit_bytes=limits.replica_lag_mb * MEBIBYTE,
            limit_s=limits.replica_lag.total_seconds(),
            ignored=limits.ignored_replicas,
        ),
        OldestTransaction(monitor, limit_s=limits.oldest_transaction.total_seconds()),
        CommitLatency(limit_s=limits.commit_latency.total_seconds()),
        ClientLoad(),
    )


class ReplicaLag(Signal):
    """The worst replica's lag, in bytes of WAL that it has not replayed.

    The limit is ``limit_bytes``, or what the primary wrote in the last ``limit_s`` if that is
    less: a replica that is further behind than that is behind by more than ``limit_s``. The
    server's own seconds are not trusted; with ``limit_s`` None bytes alone count. ``ignored``
    names replicas that are late on purpose.
    """

    name = "replica lag"
    # So little lag is noise: a replica says only now and then how far it has come.
    fewest_bytes = MEBIBYTE
    slow_from = 0.5

    def __init__(
        self,
        monitor: Monitor,
        *,
        limit_bytes: int = 16 * MEBIBYTE,
        limit_s: float | None = 1.0,
        ignored: Sequence[str] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._ignored = frozenset(ignored)
        self._clock = clock
        self._written: deque[tuple[float, int]] = deque()

    def read(self) -> Reading:
        """Ask the primary."""
        found = self._monitor.ask(signals.replication)
        if found is None:
            return _nothing(self._limit_bytes)
        limit = self._limit(found.written_bytes)
        worst = found.worst(self._ignored)
        if worst is None:
            hidden = f"{found.hidden} replica(s): lag not visible" if found.hidden else None
            return _nothing(limit, hidden)
        server_says = "" if worst.lag_s is None else f", {worst.lag_s:.1f} s"
        text = f"replica {worst.name} is {_mb(worst.lag_bytes)}{server_says} behind"
        return _graded(worst.lag_bytes, limit, self.slow_from, f"{text} (limit {_mb(limit)})")

    def _limit(self, written: int) -> int:
        if self._limit_s is None:
            return self._limit_bytes
        now = self._clock()
        self._written.append((now, written))
        # The newest position that is at least limit_s old stays in front.
        while len(self._written) > 1 and self._written[1][0] <= now - self._limit_s:
            self._written.popleft()
        then, position = self._written[0]
        if then > now - self._limit_s:
            return self._limit_bytes
        return min(self._limit_bytes, max(self.fewest_bytes, written - position))


class OldestTransaction(Signal):
    """The age of the oldest transaction of others: no row version since can be cleaned away."""

    name = "long transaction"
    slow_from = 0.8

    def __init__(self, monitor: Monitor, *, limit_s: float = 60.0) -> None:
        self._monitor = monitor
        self._limit_s = limit_s

    def read(self) -> Reading:
        """Ask the server."""
        found = self._monitor.ask(signals.other_transactions)
        if found is None:
            return _nothing(self._limit_s)
        hidden = f"{found.hidden} session(s): transactions not visible" if found.hidden else None
        oldest = found.oldest
        if oldest is None:
            return _nothing(self._limit_s, hidden)
        who = f"pid {oldest.pid}, " if oldest.pid is not None else ""
        who += f"user {oldest.user or 'unknown'}"
        who += f", application {oldest.application!r}" if oldest.application else ""
        text = f"transaction of {who} is open for {oldest.age_s:.0f} s (limit {self._limit_s:g} s)"
        return _graded(oldest.age_s, self._limit_s, self.slow_from, text, hidden)


class CommitLatency(Signal):
    """How long the last commits took: p90 of twenty. It slows and never stops a run, since a run
    that stands still has no commits to tell that they are fast again.
    """

    name = "commit latency"
    samples = 20
    fewest_samples = 5
    forgotten_s = 60.0

    def __init__(self, *, limit_s: float = 0.2, clock: Clock = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._commits: deque[tuple[float, float]] = deque(maxlen=self.samples)

    def committed(self, commit_s: float) -> None:
        """Remember it."""
        self._commits.append((self._clock(), commit_s))

    def read(self) -> Reading:
        """Look at what was remembered in the last minute."""
        since = self._clock() - self.forgotten_s
        recent = sorted(commit_s for at, commit_s in self._commits if at >= since)
        if len(recent) < self.fewest_samples:
            return _nothing(self._limit_s)
        p90 = recent[math.ceil(0.9 * len(recent)) - 1]
        text = f"commits take {p90 * 1000:.0f} ms (p90, limit {self._limit_s * 1000:.0f} ms)"
        return _eased(p90, self._limit_s, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What this process has used so far (``cpu_s``) and holds now."""

    cpu_s: float
    rss_bytes: int


def own_load() -> Load:
    """Return the load of this process, on each platform that psutil knows."""
    process = psutil.Process()
    used = process.cpu_times()
    return Load(cpu_s=used.user + used.system, rss_bytes=int(process.memory_info().rss))


class ClientLoad(Signal):
    """Our own process: its memory, and its share of one core. It slows and never stops a run,
    since waiting gives no memory back.
    """

    name = "client load"
    shortest_measure_s = 1.0
    longest_measure_s = 5.0
    rest_for_memory = 0.5

    def __init__(
        self,
        *,
        limit_rss_bytes: int = 150 * MEBIBYTE,
        limit_cpu: float = 0.75,
        load: Callable[[], Load] = own_load,
        clock: Clock = time.monotonic,
    ) -> None:
        self._limit_rss_bytes = limit_rss_bytes
        self._limit_cpu = limit_cpu
        self._load = load
        self._clock = clock
        self._before: tuple[float, float] | None = None
        self._cpu: float | None = None

    def read(self) -> Reading:
        """Ask the operating system."""
        load = self._load()
        self._measure(load.cpu_s)
        if load.rss_bytes > self._limit_rss_bytes:
            limit = self._limit_rss_bytes
            return Reading(
                state=State.SLOW,
                value=load.rss_bytes,
                limit=limit,
                text=f"this program holds {_mb(load.rss_bytes)} of memory (limit {_mb(limit)})",
                rest=self.rest_for_memory,
            )
        if self._cpu is None:
            return _nothing(self._limit_cpu)
        text = f"this program uses {self._cpu:.0%} of a core (limit {self._limit_cpu:.0%})"
        return _eased(self._cpu, self._limit_cpu, text)

    def _measure(self, cpu_s: float) -> None:
        now = self._clock()
        if self._before is not None and now - self._before[0] < self.shortest_measure_s:
            return
        if self._before is not None:
            elapsed_s = now - self._before[0]
            # Between two walks others work in this process: that says nothing about the batches.
            is_of_batches = elapsed_s <= self.longest_measure_s
            self._cpu = (cpu_s - self._before[1]) / elapsed_s if is_of_batches else None
        self._before = (now, cpu_s)


def _nothing(limit: float, note: str | None = None) -> Reading:
    return Reading(state=State.GO, value=None, limit=limit, text=note or "", note=note)


def _graded(
    value: float, limit: float, slow_from: float, text: str, note: str | None = None
) -> Reading:
    """Go up to ``slow_from`` of the limit, then ever slower, and stop above it."""
    share = value / limit
    if share > 1:
        return Reading(state=State.STOP, value=value, limit=limit, text=text, note=note)
    rest = _MOST_REST * (share - slow_from) / (1 - slow_from)
    if rest <= 0:
        return Reading(state=State.GO, value=value, limit=limit, text=text, note=note)
    return Reading(state=State.SLOW, value=value, limit=limit, text=text, rest=rest, note=note)


def _eased(value: float, limit: float, text: str) -> Reading:
    """Go up to the limit, and above it rest as much of the time as brings it down to it."""
    if value <= limit:
        return Reading(state=State.GO, value=value, limit=limit, text=text)
    rest = min(_MOST_REST, 1 - limit / value)
    return Reading(state=State.SLOW, value=value, limit=limit, text=text, rest=rest)


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / MEBIBYTE:.1f} MB"
