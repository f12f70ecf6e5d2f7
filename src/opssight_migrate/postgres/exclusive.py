"""One run at a time: advisory locks that die with the working connection.

One belongs to the database, and moves with it when it is renamed. The other is keyed by its name,
in the maintenance database: whoever connects after a swap meets another database of that name.
"""

from __future__ import annotations

import time

from opssight_migrate.model.errors import BusyError, ConnectError
from opssight_migrate.postgres import siblings
from opssight_migrate.postgres.session import Session

# Two arbitrary numbers; what matters is that they never change.
_CLASS, _OBJECT = 0x5B1E, 0x0B57
_BY_NAME = 0x5B1F
_APPLICATION = "opssight-migrate/turn"
_NUMBER_OF_NAME = "SELECT hashtext(current_database())"
_TAKEN = "SELECT pg_try_advisory_lock(%s, %s)"
_HELD = """
SELECT count(*) FROM pg_locks
 WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
   AND classid = %s AND objid = %s AND objsubid = 2
"""
_HOLDER = """
SELECT a.pid, a.usename::text, a.application_name, a.client_addr::text,
       EXTRACT(epoch FROM clock_timestamp() - a.backend_start)::float8
  FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s
   AND l.objid = (%s::int8 & 4294967295)::oid AND l.objsubid = 2
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_ORPHANS = """
SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND application_name LIKE 'opssight-migrate/%/%' AND usename = current_user
"""
_ENDED = "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid"
_POLL_S = 0.1


def take(session: Session, *, patience_s: float = 5.0) -> None:
    """Take the lock of this database for this session, waiting at most ``patience_s``.

    The lock is polled: a *waiting* request would hold up every CREATE INDEX CONCURRENTLY. A
    killed run's backend lets go within a second or so, hence the patience.

    Raises: BusyError naming who holds it.
    """
    deadline = time.monotonic() + patience_s
    _wait_for(session, _CLASS, _OBJECT, deadline)
    if session.companion is not None:
        return
    number = int(session.scalar(_NUMBER_OF_NAME))
    try:
        session.companion = siblings.sibling(session, siblings.MAINTENANCE, _APPLICATION)
    except ConnectError:
        return  # who may not connect there swaps nothing; and the other lock is held
    _wait_for(session.companion, _BY_NAME, number, deadline)


def handed_over(session: Session) -> Session:
    """Return the session on the maintenance database with its lock; it is the caller's to close.

    Raises: ConnectError.
    """
    companion, session.companion = session.companion, None
    return companion or siblings.sibling(session, siblings.MAINTENANCE, _APPLICATION)


def _wait_for(session: Session, class_: int, number: int, deadline: float) -> None:
    while not session.scalar(_TAKEN, (class_, number)):
        if time.monotonic() >= deadline:
            raise _busy(session, class_, number)
        time.sleep(_POLL_S)


def is_held(session: Session) -> bool:
    """Tell whether this very session holds the lock."""
    return bool(session.scalar(_HELD, (_CLASS, _OBJECT)))


def end_orphans(session: Session, *, patience_s: float = 10.0) -> int:
    """End the backends that a killed run left at work; return how many there were.

    Called under the lock, so no live run can be among them.

    Raises: BusyError when one does not end.
    """
    pids = _orphans(session)
    if not pids:
        return 0
    session.rows(_ENDED, (pids,))
    deadline = time.monotonic() + patience_s
    while left := _orphans(session):
        if time.monotonic() >= deadline:
            raise BusyError(
                f"backend {left[0]} of an earlier run is still at work and does not end",
                hint=f"wait for pid {left[0]} in pg_stat_activity to end, then the same again",
            )
        time.sleep(_POLL_S)
    return len(pids)


def _orphans(session: Session) -> list[int]:
    return [int(pid) for (pid,) in session.rows(_ORPHANS)]


def _busy(session: Session, class_: int, number: int) -> BusyError:
    holder = session.row(_HOLDER, (class_, number))
    if holder is None:
        return BusyError(
            "another run was working on this database a moment ago",
            hint="opssight-migrate status, then the same command again",
        )
    pid, user, application, address, age_s = holder
    whence = f" from {address}" if address else ""
    return BusyError(
        f"another run holds this database: backend pid {pid}, user {user}{whence},"
        f" {application!r}, for {age_s or 0:.0f} s",
        hint=f"wait until it ends, or look at pid {pid} in pg_stat_activity",
    )
