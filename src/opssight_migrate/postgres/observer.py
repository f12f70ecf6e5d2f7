"""A second connection that looks on while the working one cannot say anything itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.postgres.session import Session

Look = Callable[[Session], None]

_SAMPLE_S = 0.05
_LAST_LOOK_S = 1.0


class Observer:
    """Looks, 20 times a second while told to, from a thread and a connection of its own.

    ``opened`` gives the connection, made at first use and closed by ``close()``. An observer that
    cannot look remembers why and goes blind; it never stops a run.
    """

    def __init__(self, opened: Callable[[], Session]) -> None:
        self._opened = opened
        self.blind_because: str | None = None
        self._session: Session | None = None
        self._look: Look | None = None
        self._watching = threading.Event()
        self._ended = threading.Event()
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, look: Look) -> Iterator[None]:
        """Let ``look`` be called for the length of the block, and not once after it."""
        self._start()
        self._look = look
        self._watching.set()
        try:
            yield
        finally:
            self._watching.clear()
            self._look = None
            # A look that hangs in a dead network must not hold up the run.
            if self._looking.acquire(timeout=_LAST_LOOK_S):
                self._looking.release()

    def close(self) -> None:
        """End the thread and its connection."""
        self._ended.set()
        self._watching.set()
        if self._thread is not None:
            self._thread.join()
        if self._session is not None:
            self._session.close()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look_on, name="observer", daemon=True)
            self._thread.start()

    def _look_on(self) -> None:
        try:
            self._session = self._opened()
            while True:
                self._watching.wait()
                if self._ended.is_set():
                    return
                with self._looking:
                    if (look := self._look) is not None:
                        look(self._session)
                self._ended.wait(_SAMPLE_S)
        except MigrateError as error:
            self.blind_because = error.message
