"""The one door to strong locks: look, try briefly, wait outside the queue, give up in words."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql

from opssight_migrate.model.errors import LockBudgetError, StatementError
from opssight_migrate.model.events import Blocked, Emit, LockAwaited, LockTaken, Noted, unheard
from opssight_migrate.postgres import sleepers
from opssight_migrate.postgres.failures import LockNotAvailableError
from opssight_migrate.postgres.observer import Look, Observer
from opssight_migrate.postgres.receipts import DEFAULT_STALL_S, Victims
from opssight_migrate.postgres.session import Session

TRY_MS = 50
DEFAULT_BUDGET_S = 300.0
FIRST_SAID_S = 1.0
SAY_EVERY_S = 2.0
_QUERY_CANCELED = "57014"
_HIDDEN = "<insufficient privilege>"
_WRAPAROUND = "to prevent wraparound"


class Mode(StrEnum):
    """Table lock modes that we ask for, weakest first."""

    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE = "SHARE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    EXCLUSIVE = "EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


_MODE_SQL: dict[Mode, sql.SQL] = {
    Mode.SHARE_UPDATE_EXCLUSIVE: sql.SQL("SHARE UPDATE EXCLUSIVE"),
    Mode.SHARE: sql.SQL("SHARE"),
    Mode.SHARE_ROW_EXCLUSIVE: sql.SQL("SHARE ROW EXCLUSIVE"),
    Mode.EXCLUSIVE: sql.SQL("EXCLUSIVE"),
    Mode.ACCESS_EXCLUSIVE: sql.SQL("ACCESS EXCLUSIVE"),
}

# Source: PostgreSQL documentation, "Explicit Locking", table "Conflicting Lock Modes".
_CONFLICTS: dict[Mode, tuple[str, ...]] = {
    Mode.SHARE_UPDATE_EXCLUSIVE: (
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    Mode.SHARE: (
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    Mode.SHARE_ROW_EXCLUSIVE: (
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    Mode.EXCLUSIVE: (
        "RowShareLock",
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
    Mode.ACCESS_EXCLUSIVE: (
        "AccessShareLock",
        "RowShareLock",
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    ),
}

# Waiters count as blockers too: behind one of them we would stand in the queue. To a role without
# pg_monitor an autovacuum worker is whoever has no user; what it vacuums for is hidden then.
_SESSIONS_IN_THE_WAY = """
SELECT a.pid, a.usename::text, a.application_name,
       coalesce(a.backend_type,
                CASE WHEN a.pid > 0 AND a.usesysid IS NULL THEN 'autovacuum worker' END),
       EXTRACT(epoch FROM clock_timestamp() - a.xact_start)::float8, left(a.query, 200)
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'relation'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation = to_regclass(%(table)s)
   AND l.mode = ANY(%(modes)s)
   AND l.pid <> pg_backend_pid()
 GROUP BY 1, 2, 3, 4, 5, 6
 ORDER BY 5 DESC NULLS LAST
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lock that a transaction needs on a table of ours, or on a chunk in a schema aside."""

    table: str
    mode: Mode = Mode.ACCESS_EXCLUSIVE
    schema: str = "public"

    @property
    def place(self) -> sql.Identifier:
        """The table, with its schema."""
        return sql.Identifier(self.schema, self.table)

    @property
    def name(self) -> str:
        """The table as people and the server call it."""
        return self.table if self.schema == "public" else f"{self.schema}.{self.table}"


@dataclass(frozen=True, slots=True)
class _Obstacle:
    wanted: Wanted
    blockers: tuple[Blocked, ...]
    is_autovacuum: bool


class Door:
    """Takes strong locks for one session without ever standing in somebody's way.

    ``budget_s`` bounds the waiting for one transaction; ``pause_point`` is called between
    attempts and may raise to stop the run. ``observer`` sees who waits for us, for the receipt;
    once one has waited for ``stall_budget_s`` we give way and begin again. ``ends_sleepers``: a
    blocker that only sleeps in its transaction is ended.
    """

    def __init__(
        self,
        session: Session,
        *,
        budget_s: float = DEFAULT_BUDGET_S,
        emit: Emit = unheard,
        pause_point: Callable[[], None] = lambda: None,
        step_id: str = "",
        observer: Observer | None = None,
        stall_budget_s: float = DEFAULT_STALL_S,
        ends_sleepers: bool = False,
    ) -> None:
        self.session = session
        self.stall_budget_s = stall_budget_s
        self.ends_sleepers = ends_sleepers
        self.observer = observer
        self.budget_s = budget_s
        self.emit = emit
        self.pause_point = pause_point
        self.step_id = step_id

    def through(self, wanted: tuple[Wanted, ...], work: Callable[[], None]) -> None:
        """Run ``work`` in one transaction that holds ``wanted``; nobody queues behind us.

        ``work`` may run several times, each time in a transaction of its own, since a lock that
        one of its statements cannot get within 50 ms rolls the transaction back.

        Raises: LockBudgetError, with the blocker, when the budget is spent.
        """
        began = time.monotonic()
        said = began + FIRST_SAID_S - SAY_EVERY_S
        attempt = ways_given = 0
        while True:
            self.pause_point()
            obstacle = self._look(wanted)
            if obstacle is None or obstacle.is_autovacuum:
                victims = Victims(self.session.pid, stall_budget_s=self.stall_budget_s)
                try:
                    with self.watched(victims.look):
                        taken = self._try(wanted, work, behind_autovacuum=obstacle is not None)
                except LockNotAvailableError:
                    obstacle = self._look(wanted) or obstacle
                except StatementError as error:
                    if not victims.gave_way or error.sqlstate != _QUERY_CANCELED:
                        raise
                    ways_given += 1
                    self._say_gave_way(wanted, victims)
                    obstacle = self._look(wanted) or obstacle
                else:
                    self._receipt(wanted, victims, taken - began, time.monotonic() - taken)
                    return
            now = time.monotonic()
            if now - began > self.budget_s:
                raise self._spent(wanted, obstacle, now - began, ways_given)
            if obstacle is not None and self.ends_sleepers:
                self.end_sleepers([blocker.pid for blocker in obstacle.blockers])
            if obstacle is not None and now - said >= SAY_EVERY_S:
                said = now
                self._say(obstacle, now - began)
            attempt += 1
            time.sleep(random.uniform(0.05, min(0.5, 0.1 * attempt)))  # noqa: S311 (jitter)

    def _look(self, wanted: tuple[Wanted, ...]) -> _Obstacle | None:
        for lock in wanted:
            rows = self.session.rows(
                _SESSIONS_IN_THE_WAY,
                {"table": f'{lock.schema}."{lock.table}"', "modes": list(_CONFLICTS[lock.mode])},
            )
            if rows:
                return _Obstacle(
                    wanted=lock,
                    blockers=tuple(
                        Blocked(pid=pid, user=user, application=app, age_s=age, query=query)
                        for pid, user, app, _, age, query in rows
                    ),
                    is_autovacuum=all(
                        kind == "autovacuum worker" and _WRAPAROUND not in (query or "")
                        for _, _, _, kind, _, query in rows
                    ),
                )
        return None

    def _try(
        self, wanted: tuple[Wanted, ...], work: Callable[[], None], *, behind_autovacuum: bool
    ) -> float:
        """Do the work under the locks; return when they were all ours."""
        with self.session.writing():
            if behind_autovacuum:
                # A worker yields only to someone who waits deadlock_timeout; in this mode nobody
                # queues behind us while we do.
                self.session.execute(
                    "SELECT set_config('lock_timeout', (EXTRACT(epoch FROM"
                    " current_setting('deadlock_timeout')::interval) * 1000 + 1000)::int::text,"
                    " true)"
                )
                for lock in wanted:
                    self._lock(lock, Mode.SHARE_UPDATE_EXCLUSIVE)
            self.session.execute("SELECT set_config('lock_timeout', %s, true)", (f"{TRY_MS}ms",))
            for lock in wanted:
                self._lock(lock, lock.mode)
            taken = time.monotonic()
            work()
        return taken

    def end_sleepers(self, pids: Sequence[int], session: Session | None = None) -> None:
        """End those of ``pids`` that sleep in their transaction, as long as we may.

        ``session`` is another than the door's own, where that one is at work.
        """
        self.ends_sleepers = sleepers.end(session or self.session, pids, self.emit)

    def watched(self, look: Look) -> AbstractContextManager[None]:
        """Let the observer, where there is one, look on for the length of a block."""
        return nullcontext() if self.observer is None else self.observer.watching(look)

    def _say_gave_way(self, wanted: tuple[Wanted, ...], victims: Victims) -> None:
        tables = ", ".join(dict.fromkeys(lock.name for lock in wanted))
        longest = victims.seen()[0]
        self.emit(
            Noted(
                severity="note",
                message=f"gave way on {tables}: pid {longest.pid} {longest.application} waited"
                f" {longest.waited_ms:,} ms for us (stall_budget"
                f" {self.stall_budget_s * 1000:.0f} ms); trying again",
            )
        )

    def _receipt(
        self, wanted: tuple[Wanted, ...], victims: Victims, waited_s: float, held_s: float
    ) -> None:
        if victims.gave_way:
            # The cancel came too late for that transaction; it must not meet the next statement.
            self.session.unhurried(lambda: self.session.execute("SELECT 1"))
        for lock in wanted:
            self.emit(
                LockTaken(
                    step_id=self.step_id,
                    relation=lock.name,
                    mode=lock.mode.value,
                    waited_ms=round(waited_s * 1000),
                    held_ms=round(held_s * 1000),
                    victims=tuple(v for v in victims.seen() if v.relation in (lock.name, None)),
                )
            )

    def _lock(self, wanted: Wanted, mode: Mode) -> None:
        self.session.execute(
            sql.SQL("LOCK TABLE {} IN {} MODE").format(wanted.place, _MODE_SQL[mode])
        )

    def _say(self, obstacle: _Obstacle, waited_s: float) -> None:
        self.emit(
            LockAwaited(
                step_id=self.step_id,
                relation=obstacle.wanted.name,
                mode=obstacle.wanted.mode.value,
                waited_s=waited_s,
                budget_s=self.budget_s,
                blockers=obstacle.blockers,
            )
        )

    def _spent(
        self,
        wanted: tuple[Wanted, ...],
        obstacle: _Obstacle | None,
        waited_s: float,
        ways_given: int,
    ) -> LockBudgetError:
        lock = obstacle.wanted if obstacle else next(iter(wanted), None)
        who = describe(obstacle.blockers) if obstacle else "it was busy each time"
        if ways_given:
            who += f"; gave way {ways_given} times to sessions that waited for us (stall_budget)"
        # A statement such as CREATE TYPE wants no table, and may still meet somebody's lock.
        what = f"{lock.mode.value} lock on {lock.name}" if lock else "lock on the catalogue"
        message = f"no {what} within {waited_s:.0f} s (lock_budget): {who}"
        pid = obstacle.blockers[0].pid if obstacle else None
        hint = "the same command goes on from here once the way is free"
        if pid is not None:
            hint += f"; to end the blocker: SELECT pg_terminate_backend({pid})"
        where = f"{lock.schema}.{lock.table}" if lock else None
        return LockBudgetError(message, hint=hint, where=where)


def describe(blockers: tuple[Blocked, ...]) -> str:
    """Name the oldest blocker: pid, user, application, age, query; what is hidden is said so."""
    if not blockers:
        return "nobody"
    first = blockers[0]
    if first.query is None or first.query == _HIDDEN:
        who = f"pid {first.pid}, user {first.user} (age and query not visible: GRANT pg_monitor)"
    else:
        age = "" if first.age_s is None else f", transaction open for {first.age_s:.0f} s"
        query = " ".join((first.query or "").split())[:80]
        who = f"pid {first.pid}, user {first.user}, application {first.application!r}{age}"
        who += f", query {query!r}" if query else ""
    more = len(blockers) - 1
    return who + (f", and {more} more" if more else "")
