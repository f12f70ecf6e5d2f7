"""Who waits for us while we hold or want a strong lock, and when that is long enough."""

from __future__ import annotations

import time

from opssight_migrate.model.events import Victim
from opssight_migrate.postgres.session import Session

DEFAULT_STALL_S = 0.5

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
_CANCEL = "SELECT pg_cancel_backend(%(pid)s)"


class Victims:
    """Who waited for the backend ``pid`` in one transaction of ours, seen by an observer.

    Once somebody has waited for ``stall_budget_s``, the transaction is cancelled, so that they go
    on; ``gave_way`` tells whether that happened.
    """

    def __init__(self, pid: int, *, stall_budget_s: float = DEFAULT_STALL_S) -> None:
        self._pid = pid
        self._stall_budget_ms = stall_budget_s * 1000
        self._victims: dict[int, Victim] = {}
        self._since: dict[int, float] = {}
        self.gave_way = False

    def seen(self) -> tuple[Victim, ...]:
        """Return who waited, the longest wait first; asked when nobody looks any more."""
        return tuple(sorted(self._victims.values(), key=lambda v: -v.waited_ms))

    def look(self, session: Session) -> None:
        """Take down who waits now."""
        query = _WAITING_FOR_US
        if session.server_version < _WAITSTART_SINCE:
            query = _WAITING_FOR_US_13
        now = time.monotonic()
        waiting = session.rows(query, {"pid": self._pid})
        self._since = {pid: self._since.get(pid, now) for pid, *_ in waiting}
        for pid, relation, application, waited_ms in waiting:
            victim = Victim(
                pid=int(pid),
                relation=relation,
                application=str(application),
                waited_ms=round(max(waited_ms, (now - self._since[pid]) * 1000)),
            )
            known = self._victims.get(victim.pid)
            if known is None or known.waited_ms < victim.waited_ms:
                self._victims[victim.pid] = victim
            if victim.waited_ms > self._stall_budget_ms and not self.gave_way:
                self.gave_way = True
                session.execute(_CANCEL, {"pid": self._pid})
