"""A reader's wait for a table that somebody holds: outside the queue, told, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from opssight_migrate.model.errors import LockBudgetError
from opssight_migrate.model.events import Blocked, Emit, LockAwaited
from opssight_migrate.postgres.failures import LockNotAvailableError
from opssight_migrate.postgres.locks import describe
from opssight_migrate.postgres.session import Session

MODE = "ACCESS SHARE"
_TRY = "1s"
_PAUSE_S = 0.5
_PATIENCE = "SELECT set_config('lock_timeout', %s, false)"
# Who only waits for it is in the way as well: readers stand in the queue behind them.
_HELD = """
SELECT c.relname::text, l.pid, a.usename::text, a.application_name,
       EXTRACT(epoch FROM clock_timestamp() - a.xact_start)::float8, left(a.query, 200)
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p')
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY l.granted DESC, 5 DESC NULLS LAST
"""
_T = TypeVar("_T")


def unhindered(
    session: Session, read: Callable[[], _T], *, name: str, budget_s: float, emit: Emit
) -> _T:
    """Return what ``read`` does, which begins again when a table was locked for a second.

    In between nothing is held, so that whoever wants to lock what we read does not wait for us.
    ``name`` says in the event what is being read.

    Raises: LockBudgetError, with the blocker, once ``budget_s`` is spent.
    """
    began = time.monotonic()
    while True:
        session.execute(_PATIENCE, (_TRY,))
        try:
            return read()
        except LockNotAvailableError:
            waited_s = time.monotonic() - began
            relation, blockers = _held(session)
            if waited_s > budget_s:
                raise _spent(relation, blockers, waited_s) from None
            emit(
                LockAwaited(
                    step_id=name,
                    relation=relation,
                    mode=MODE,
                    waited_s=waited_s,
                    budget_s=budget_s,
                    blockers=blockers,
                )
            )
            time.sleep(_PAUSE_S)
        finally:
            if not session.connection.closed:
                session.execute(_PATIENCE, ("0",))


def _held(session: Session) -> tuple[str, tuple[Blocked, ...]]:
    """Return the table that was locked first, and by whom; it may have become free meanwhile."""
    rows = session.rows(_HELD)
    relation = str(rows[0][0]) if rows else "a table"
    return relation, tuple(
        Blocked(pid=pid, user=user, application=application, age_s=age_s, query=query)
        for table, pid, user, application, age_s, query in rows
        if table == relation
    )


def _spent(relation: str, blockers: tuple[Blocked, ...], waited_s: float) -> LockBudgetError:
    return LockBudgetError(
        f"{relation} could not be read within {waited_s:.0f} s (lock_budget): {describe(blockers)}",
        where=relation,
        hint="opssight-migrate verify, once the way is free",
    )
