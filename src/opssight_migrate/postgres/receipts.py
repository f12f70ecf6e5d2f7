"""Lock receipts: what a strong lock cost, and whom, seen from a second connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.model.events import Victim
from opssight_migrate.postgres.session import Session

_SAMPLE_S = 0.05
# waitstart is NULL for a moment after a wait begins, and before PostgreSQL 14 does not exist.
_WAITING_FOR_US = """
SELECT l.pid, l.relation::regclass::text, coalesce(a.application_name, ''),
       coalesce(EXTRACT(epoch FROM clock_timestamp() - l.waitstart) * 1000, 0)::float8
  FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE NOT l.granted AND %(pid)s = ANY(pg_blocking_pids(l.pid))
"""
_WAITING_FOR_US_13 = """
SELECT l.pid, l.relation::regclass::text, coalesce(a.application_name, ''), 0::float8
  FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE NOT l.granted AND %(pid)s = ANY(pg_blocking_pids(l.pid))
"""
_WAITSTART_SINCE = 140000


class Observer:
    """Looks, 20 times a second while told to, at who waits for one backend.

    ``opened`` gives a connection of the observer's own, made at first use and closed by
    ``close()``. An observer that cannot look remembers why and goes blind; it never stops a run.
    """

    def __init__(self, opened: Callable[[], Session], pid: int) -> None:
        self._opened = opened
        self._pid = pid
        self.blind_because: str | None = None
        self._session: Session | None = None
        self._watching = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._victims: dict[int, Victim] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look for the length of the block."""
        with self._guard:
            self._victims = {}
        self._start()
        self._watching.set()
        try:
            yield
        finally:
            self._watching.clear()

    def victims(self) -> tuple[Victim, ...]:
        """Return who waited in the last block, the longest wait first."""
        with self._guard:
            return tuple(sorted(self._victims.values(), key=lambda v: -v.waited_ms))

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
            query = _WAITING_FOR_US
            if self._session.server_version < _WAITSTART_SINCE:
                query = _WAITING_FOR_US_13
            while True:
                self._watching.wait()
                if self._ended.is_set():
                    return
                for pid, relation, application, waited_ms in self._session.rows(
                    query, {"pid": self._pid}
                ):
                    self._take_down(
                        Victim(
                            pid=int(pid),
                            relation=relation,
                            application=str(application),
                            waited_ms=round(waited_ms),
                        )
                    )
                self._ended.wait(_SAMPLE_S)
        except MigrateError as error:
            self.blind_because = error.message

    def _take_down(self, victim: Victim) -> None:
        with self._guard:
            known = self._victims.get(victim.pid)
            if known is None or known.waited_ms < victim.waited_ms:
                self._victims[victim.pid] = victim
