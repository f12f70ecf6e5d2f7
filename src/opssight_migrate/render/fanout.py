"""One ``emit`` for many subscribers; a broken one is dropped and never stops a migration."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from opssight_migrate.model.events import Emit, Event, Noted


class Fanout:
    """Tells every subscriber every event, in order, one event after the other.

    ``emit`` may be called by several threads and by a signal handler in the middle of another
    ``emit``: the newcomer's event then waits in the queue, and whoever is telling goes on with it.
    """

    def __init__(self, subscribers: Iterable[Emit]) -> None:
        self._subscribers = list(subscribers)
        self._queue: deque[Event] = deque()
        self._telling = threading.Lock()

    def emit(self, event: Event) -> None:
        """Tell ``event`` to all who are still listening."""
        self._queue.append(event)
        # Looked at again after the lock is free: a signal may have queued its event in between.
        while self._queue and self._telling.acquire(blocking=False):
            try:
                self._tell_queued()
            finally:
                self._telling.release()

    def _tell_queued(self) -> None:
        while self._queue:
            event = self._queue.popleft()
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(event)
                except Exception as error:
                    self._subscribers.remove(subscriber)
                    self._queue.append(_dropped(subscriber, error))


def _dropped(subscriber: Emit, error: Exception) -> Noted:
    owner = getattr(subscriber, "__self__", None)
    name = type(owner).__name__ if owner else getattr(subscriber, "__name__", repr(subscriber))
    return Noted(
        severity="warning",
        message=f"{name} is left out from here on: {type(error).__name__}: {error}",
        hint="the run itself goes on",
    )
