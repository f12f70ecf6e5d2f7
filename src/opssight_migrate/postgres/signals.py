"""What a running migration does to others: replica lag and old transactions, as the server sees it.

Readings are taken over a monitoring session: the working one may be in a transaction. What the
role may not see is counted as not visible, and never told as zero.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from opssight_migrate.model.errors import ConnectionLostError, MigrateError
from opssight_migrate.postgres.session import Session

_TIMEOUT = "1s"
_OPEN_AGAIN_S = 5.0

# One row at least, for the position is wanted without replicas too. A role without pg_monitor sees
# the pid of a sender and no state. Backups and logical consumers are no replicas, and a receiver
# that replays nothing (pg_receivewal) says no replay_lsn.
_REPLICATION = """
SELECT pg_wal_lsn_diff(w.lsn, '0/0')::bigint, r.pid, r.state IS NULL AS is_hidden,
       coalesce(nullif(r.application_name, ''), 'pid ' || r.pid)
           || coalesce(' at ' || host(r.client_addr), ''),
       greatest(pg_wal_lsn_diff(w.lsn, r.replay_lsn), 0)::bigint,
       EXTRACT(epoch FROM r.replay_lag)::float8, coalesce(r.application_name, '')
  FROM (SELECT pg_current_wal_lsn() AS lsn) AS w
  LEFT JOIN pg_stat_replication AS r
    ON (r.state IS NULL OR (r.state <> 'backup' AND r.replay_lsn IS NOT NULL))
   AND NOT EXISTS (SELECT FROM pg_replication_slots AS s
                    WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
"""
# Only what people and programs opened: a parallel worker shares its leader's transaction, and a
# VACUUM's holds nothing up. What a role may not see has no backend_type either.
_OTHER_TRANSACTIONS = """
SELECT pid, usename::text, coalesce(application_name, ''),
       query = '<insufficient privilege>' AS is_hidden,
       EXTRACT(epoch FROM clock_timestamp() - xact_start)::float8 AS age_s
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND coalesce(application_name, '') NOT LIKE 'opssight-migrate%'
   AND coalesce(backend_type, 'client backend') = 'client backend'
   AND (xact_start IS NOT NULL OR query = '<insufficient privilege>')
 UNION ALL
SELECT NULL, owner::text, 'prepared transaction ' || gid, false,
       EXTRACT(epoch FROM clock_timestamp() - prepared)::float8
  FROM pg_prepared_xacts
 WHERE database = current_database()
 ORDER BY age_s DESC NULLS LAST
"""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A standby and what it has yet to replay. ``lag_s`` is the server's word, None without one.
    ``application`` is how the standby calls itself, "" if not at all.

    The seconds are shown and never decided on: they stand still while nothing is replayed.
    """

    name: str
    lag_bytes: int
    lag_s: float | None
    application: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """All standbys. ``written_bytes`` is the position up to which WAL is written; ``hidden``
    counts the senders of which the role sees nothing but that they are there.
    """

    written_bytes: int
    replicas: tuple[Replica, ...]
    hidden: int

    def worst(self, ignored: Collection[str] = ()) -> Replica | None:
        """Return the replica that is furthest behind, or None without a visible one."""
        counted = (
            replica
            for replica in self.replicas
            if replica.name not in ignored and replica.application not in ignored
        )
        return max(counted, key=lambda replica: replica.lag_bytes, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Somebody's open transaction. ``pid`` is None for a prepared one, which has no session."""

    pid: int | None
    user: str | None
    application: str
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """The oldest transaction of others in this database; None where none is open or visible.

    ``hidden`` counts the sessions of which the role may not see whether they have one.
    """

    oldest: Transaction | None
    hidden: int


def replication(session: Session) -> Replication:
    """Return how far the standbys of this primary are behind, in bytes of WAL."""
    rows = session.rows(_REPLICATION)
    senders = [row for row in rows if row[1] is not None]
    return Replication(
        written_bytes=int(rows[0][0]),
        replicas=tuple(
            Replica(name=name, lag_bytes=int(lag_bytes), lag_s=lag_s, application=application)
            for _, _, is_hidden, name, lag_bytes, lag_s, application in senders
            if not is_hidden
        ),
        hidden=sum(row[2] for row in senders),
    )


def other_transactions(session: Session) -> Transactions:
    """Return the oldest transaction in this database that is not one of our sessions'."""
    rows = session.rows(_OTHER_TRANSACTIONS)
    seen = [row for row in rows if not row[3]]
    oldest = None
    if seen:
        pid, user, application, _, age_s = seen[0]
        oldest = Transaction(pid=pid, user=user, application=application, age_s=max(age_s, 0.0))
    return Transactions(oldest=oldest, hidden=len(rows) - len(seen))


class Monitor:
    """The session that readings are taken over: opened at first use, and again when it was lost.

    A monitor that cannot read never stops a run: it answers None, and says once why.
    """

    def __init__(
        self,
        opened: Callable[[], Session],
        note: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opened = opened
        self._note = note
        self._clock = clock
        self._session: Session | None = None
        self._is_noted = False
        self._tried_at = float("-inf")
        self._refused: set[str] = set()

    def ask(self, question: Callable[[Session], Answer]) -> Answer | None:
        """Return the answer of ``question``, or None where there is none to be had now."""
        for _ in range(2):
            session = self._session or self._open()
            if session is None:
                return None
            try:
                return question(session)
            except ConnectionLostError as error:
                self._lose(error)
            except MigrateError as error:
                self._refuse(error)
                return None
        return None

    def close(self) -> None:
        """Close the session, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> Session | None:
        now = self._clock()
        if now - self._tried_at < _OPEN_AGAIN_S:
            return None
        self._tried_at = now
        try:
            session = self._opened()
        except MigrateError as error:
            self._say_lost(error)
            return None
        try:
            session.execute("SELECT set_config('statement_timeout', %s, false)", (_TIMEOUT,))
        except MigrateError as error:
            session.close()
            self._say_lost(error)
            return None
        self._session = session
        self._is_noted = False
        return session

    def _lose(self, error: MigrateError) -> None:
        self.close()
        self._say_lost(error)

    def _say_lost(self, error: MigrateError) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._note(f"the governor reads nothing until it is connected again: {error.message}")

    def _refuse(self, error: MigrateError) -> None:
        reason = error.sqlstate or type(error).__name__
        if reason not in self._refused:
            self._refused.add(reason)
            self._note(f"the governor cannot read one of its signals: {error.message}")
