"""Putting one database in another's place: both renames in one transaction, clients ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from opssight_migrate.model.errors import BusyError, MigrateError, RefusedError
from opssight_migrate.postgres import privileges, siblings
from opssight_migrate.postgres.properties import DEFAULT_TABLESPACE
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_NAME_BYTES = 63
_APPLICATION = "opssight-migrate/swap"
# Of a role that ours is no member of, the type of the backend is hidden.
_CLIENTS = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = %s AND coalesce(backend_type, 'client backend') = 'client backend'
   AND application_name !~ '^opssight-migrate/'
"""
_ENDED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = ANY(%s) AND pid <> pg_backend_pid() AND pid <> %s
   AND (%s OR application_name ~ '^opssight-migrate/')
"""
# The rename has the database's own lock: from then on nobody else can connect.
_IS_CLOSED = """
SELECT EXISTS (SELECT FROM pg_locks
                WHERE pid = %s AND locktype = 'object' AND classid = 'pg_database'::regclass
                  AND mode = 'AccessExclusiveLock' AND granted)
       AND NOT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = ANY(%s) AND pid <> %s
                          AND coalesce(backend_type, 'client backend') = 'client backend')
"""
_RIGHTS = """
SELECT pg_get_userbyid(d.datdba)::text, pg_has_role(d.datdba, 'USAGE'),
       r.rolsuper OR r.rolcreatedb, current_user::text,
       r.rolsuper OR pg_has_role('pg_signal_backend', 'USAGE'),
       ARRAY(SELECT DISTINCT a.usename::text FROM pg_stat_activity AS a
              WHERE a.datid = d.oid AND a.usename IS NOT NULL
                AND NOT pg_has_role(a.usesysid, 'USAGE')),
       ARRAY(SELECT DISTINCT a.usename::text FROM pg_stat_activity AS a
               JOIN pg_roles AS o ON o.oid = a.usesysid AND o.rolsuper
              WHERE a.datid = d.oid AND NOT r.rolsuper)
  FROM pg_database AS d, pg_roles AS r
 WHERE d.datname = current_database() AND r.rolname = current_user
"""
_TABLESPACE = """
SELECT s.spcname::text FROM pg_database AS d JOIN pg_tablespace AS s ON s.oid = d.dattablespace
 WHERE d.datname = current_database() AND s.spcname <> %s
   AND NOT has_tablespace_privilege(s.oid, 'CREATE')
"""
_OF_SUPERUSERS = """
SELECT x.extname::text FROM pg_extension AS x
  JOIN pg_available_extension_versions AS v ON v.name = x.extname AND v.version = x.extversion
 WHERE v.superuser AND NOT v.trusted AND x.extname <> 'plpgsql'
   AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
 ORDER BY 1
"""
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1"
_SLOTS = "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
_TAKEN = "SELECT true FROM pg_database WHERE datname = %s"
_END_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """A right that a swap needs and our role lacks; ``grant`` is what would give it."""

    why: str
    grant: str


def retired_name(database: str, run_id: str) -> str:
    """Return what the old database is called afterwards, cut to the 63 bytes of a name by us."""
    suffix = f"_before_{run_id}"
    room = _NAME_BYTES - len(suffix.encode())
    return database.encode()[:room].decode(errors="ignore") + suffix


def lacking(session: Session) -> Iterable[Lacking]:
    """Return what our role lacks to make, rename and clear the session's database."""
    owner, is_owner, may_create, user, may_signal, others, superusers = session.rows(_RIGHTS)[0]
    name = Identifier(user)

    def text(statement: SQL, *names: str) -> str:
        return statement.format(*map(Identifier, names), name).as_string(session.connection)

    if not may_create:
        yield Lacking(
            why="a backup is restored into a new database (CREATEDB)",
            grant=privileges.createdb(session),
        )
    if not is_owner:
        yield Lacking(
            why=f"only its owner {owner} may rename the database",
            grant=text(SQL("GRANT {} TO {}"), owner),
        )
    for (place,) in session.rows(_TABLESPACE, (DEFAULT_TABLESPACE,)):
        yield Lacking(
            why=f"the database lies in tablespace {place}, and so does the new one",
            grant=text(SQL("GRANT CREATE ON TABLESPACE {} TO {}"), place),
        )
    if others and not may_signal:
        yield Lacking(
            why=f"sessions of {', '.join(others)} have to be ended (pg_signal_backend)",
            grant=SQL("GRANT pg_signal_backend TO {}").format(name).as_string(session.connection),
        )
    if superusers:
        yield Lacking(
            why=f"only a superuser ends the sessions of {', '.join(superusers)}",
            grant="end them by hand, or connect as a superuser",
        )


def extensions_of_superusers(session: Session) -> list[str]:
    """Return the extensions that are installed and that our role could not create anew."""
    return [name for (name,) in session.rows(_OF_SUPERUSERS)]


def in_the_way(session: Session) -> Iterable[str]:
    """Name what keeps the session's database from being renamed, whoever asks."""
    if session.connection.info.dbname == siblings.MAINTENANCE:
        yield f"the database is called {siblings.MAINTENANCE}, from which others are renamed"
    for (gid,) in session.rows(_PREPARED):
        yield f"prepared transaction {gid} has neither been committed nor rolled back"
    for (slot,) in session.rows(_SLOTS):
        yield f"logical slot {slot} reads this very database, and would not follow the name"


def clients_of(session: Session, database: str) -> int:
    """Return how many clients other than ours are connected."""
    return int(session.scalar(_CLIENTS, (database,)))


def end_clients(maintenance: Session, database: str, holder: Session) -> None:
    """End everybody who is connected but ``holder``, once."""
    maintenance.scalar(_ENDED, ([database], holder.pid, True))


def swap(
    maintenance: Session,
    holder: Session,
    *,
    new: str,
    retired: str,
    terminates: bool,
) -> None:
    """Rename the database of ``holder`` to ``retired`` and ``new`` to its name: both, or neither.

    ``maintenance`` is a session on another database, under the lock of one run at a time. The
    rename keeps everybody out and waits for those inside, while a second session ends them (ours
    only, unless ``terminates``). ``holder``, which keeps writers waiting, is closed last of all.

    Raises: BusyError when a client does not end; then nothing changed.
    """
    live = holder.connection.info.dbname
    ender = _Ender(maintenance, holder, new, terminates=terminates)
    try:
        with maintenance.writing():
            for old, name in ((live, retired), (new, live)):
                maintenance.execute(
                    SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(old), Identifier(name))
                )
    except MigrateError as error:
        if error.sqlstate == "55006":  # object_in_use: a client did not end in five seconds
            raise BusyError(
                f"a client of {live} was in the way: {error.message}",
                hint="end it, and give the same command again",
            ) from error
        if not maintenance.connection.closed:
            raise RefusedError(
                f"the databases were not swapped: {error.message}", sqlstate=error.sqlstate
            ) from error
        raise
    finally:
        ender.stop()


def exists(session: Session, database: str) -> bool:
    """Tell whether there is a database of that name."""
    return bool(session.scalar(_TAKEN, (database,)))


def rename(session: Session, database: str, name: str) -> None:
    """Rename another database of the session's server.

    Raises: RefusedError, if there is one of that name already.
    """
    if exists(session, name):
        raise RefusedError(f"there is a database {name} already", hint="give another name")
    session.execute(
        SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(database), Identifier(name))
    )


class _Ender:
    """Ends the clients of two databases, again and again, from a session of its own."""

    def __init__(
        self, maintenance: Session, holder: Session, new: str, *, terminates: bool
    ) -> None:
        self._session = siblings.sibling(maintenance, siblings.MAINTENANCE, _APPLICATION)
        self._renamer = maintenance.pid
        self._holder = holder
        self._holder_pid = holder.pid
        self._databases = [holder.connection.info.dbname, new]
        self._terminates = terminates
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
                self._session.scalar(_ENDED, (self._databases, self._holder_pid, self._terminates))
                closed = (self._renamer, self._databases, self._holder_pid)
                if not self._holder.connection.closed and self._session.scalar(_IS_CLOSED, closed):
                    # Whoever waited for its locks is gone, and nobody comes any more.
                    self._holder.close()
                self._is_over.wait(_END_EVERY_S)
        except MigrateError:
            return  # the rename then says who is still there
