"""Putting one database in another's place: both renames in one transaction, clients ended."""

from __future__ import annotations

import threading

from opssight_migrate.model.errors import BusyError, MigrateError, PrivilegeError, RefusedError
from opssight_migrate.postgres import siblings
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_NAME_BYTES = 63
_CLASS = 0x5B1F
_APPLICATION = "opssight-migrate/swap"
_LOCKED = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = %s AND backend_type = 'client backend' AND application_name !~ '^opssight-migrate/'
"""
_ENDED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = ANY(%s) AND pid <> pg_backend_pid()
"""
_MAY_SWAP = """
SELECT pg_has_role(d.datdba, 'USAGE')
       AND (SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user)
       AND (SELECT rolsuper OR pg_has_role('pg_signal_backend', 'USAGE') OR NOT EXISTS (
              SELECT FROM pg_stat_activity AS a
               WHERE a.datid = d.oid AND NOT pg_has_role(a.usesysid, 'USAGE'))
              FROM pg_roles WHERE rolname = current_user)
  FROM pg_database AS d WHERE d.datname = current_database()
"""
_TAKEN = "SELECT true FROM pg_database WHERE datname = %s"
_END_EVERY_S = 0.02


def retired_name(database: str, run_id: str) -> str:
    """Return what the old database is called afterwards, cut to the 63 bytes of a name by us."""
    suffix = f"_before_{run_id}"
    room = _NAME_BYTES - len(suffix.encode())
    return database.encode()[:room].decode(errors="ignore") + suffix


def refuse_without_rights(session: Session) -> None:
    """Raise PrivilegeError unless our role may make, rename and clear the session's database."""
    if not session.scalar(_MAY_SWAP):
        raise PrivilegeError(
            "swapping databases needs their owner, CREATEDB, and pg_signal_backend to end clients",
            hint="connect as such a role, or restore beside with --into",
        )


def clients_of(session: Session, database: str) -> int:
    """Return how many clients other than ours are connected."""
    return int(session.scalar(_CLIENTS, (database,)))


def swap(maintenance: Session, *, live: str, new: str, retired: str) -> None:
    """Rename ``live`` to ``retired`` and ``new`` to ``live``, both or neither.

    ``maintenance`` is a session on another database. While the renames wait for clients to leave,
    a second session ends them; who connects meanwhile waits for the commit.

    Raises: BusyError when another swap is at work or a client does not end; then nothing changed.
    """
    if not maintenance.scalar(_LOCKED, (_CLASS, live)):
        raise BusyError(f"another run is swapping {live}", hint="wait until it ends")
    ender = _Ender(maintenance, [live, new])
    try:
        with maintenance.writing():
            for old, name in ((live, retired), (new, live)):
                maintenance.execute(
                    SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(name))
                )
    except MigrateError as error:
        if error.sqlstate == "55006":  # object_in_use: a client did not end in five seconds
            raise BusyError(
                f"a client of {live} could not be ended: {error.message}",
                hint="end it, and give the same command again",
            ) from error
        raise RefusedError(
            f"the databases were not swapped: {error.message}", sqlstate=error.sqlstate
        ) from error
    finally:
        ender.stop()


def rename(session: Session, database: str, name: str) -> None:
    """Rename another database of the session's server.

    Raises: RefusedError, if there is one of that name already.
    """
    if session.scalar(_TAKEN, (name,)):
        raise RefusedError(f"there is a database {name} already", hint="give another name")
    session.execute(
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(database), Identifier(name))
    )


class _Ender:
    """Ends the clients of databases, again and again, from a session of its own."""

    def __init__(self, maintenance: Session, databases: list[str]) -> None:
        self._session = siblings.sibling(maintenance, siblings.MAINTENANCE, _APPLICATION)
        self._databases = databases
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._end, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._session.close()

    def _end(self) -> None:
        try:
            while not self._is_over.is_set():
                self._session.scalar(_ENDED, (self._databases,))
                self._is_over.wait(_END_EVERY_S)
        except MigrateError:
            return  # the rename then says who is still there
