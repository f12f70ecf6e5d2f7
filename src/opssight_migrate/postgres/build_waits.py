"""Whom an index that is built CONCURRENTLY waits for, seen while the build cannot tell itself."""

from __future__ import annotations

import time

from opssight_migrate.model.events import Blocked, LockAwaited
from opssight_migrate.postgres.locks import FIRST_SAID_S, SAY_EVERY_S, Door
from opssight_migrate.postgres.session import Session

MODE = "CREATE INDEX CONCURRENTLY"

_LOOK_EVERY_S = 0.5
# Source: PostgreSQL documentation, "CREATE INDEX Progress Reporting": 0 or NULL means nobody.
_AWAITED = """
SELECT p.current_locker_pid::int, a.usename::text, a.application_name,
       EXTRACT(epoch FROM clock_timestamp() - a.xact_start)::float8, left(a.query, 200)
  FROM pg_stat_progress_create_index AS p
  LEFT JOIN pg_stat_activity AS a ON a.pid = p.current_locker_pid
 WHERE p.pid = %(pid)s AND p.current_locker_pid > 0
"""


class BuildWaits:
    """Tells, through the door's ``emit``, whom the build of index ``name`` waits for."""

    def __init__(self, door: Door, name: str) -> None:
        self._door = door
        self._name = name
        self._pid = door.session.pid
        self._began = time.monotonic()
        self._looked = float("-inf")
        self._waiting_since: float | None = None
        self._said = float("-inf")

    def look(self, session: Session) -> None:
        """Ask whom it waits for now, and say so from the first second on."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S:
            return
        self._looked = now
        awaited = session.row(_AWAITED, {"pid": self._pid})
        if awaited is None:
            self._waiting_since = None
            return
        if self._waiting_since is None:
            self._waiting_since = now
        pid, user, application, age_s, query = awaited
        if self._door.ends_sleepers:
            self._door.end_sleepers([pid], session)
        if now - self._waiting_since < FIRST_SAID_S or now - self._said < SAY_EVERY_S:
            return
        self._said = now
        self._door.emit(
            LockAwaited(
                step_id=self._door.step_id,
                relation=self._name,
                mode=MODE,
                waited_s=now - self._began,
                budget_s=self._door.budget_s,
                blockers=(
                    Blocked(pid=pid, user=user, application=application, age_s=age_s, query=query),
                ),
            )
        )
