"""The roles of a live server as names on ours: what is restored there belongs to whom it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import make_conninfo

from opssight_migrate.postgres import connect, siblings
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_ROLES = "SELECT rolname::text FROM pg_roles WHERE NOT starts_with(rolname, 'pg_')"
_ORDINARY = """
SELECT rolname::text FROM pg_roles
 WHERE NOT rolsuper AND NOT starts_with(rolname, 'pg_') AND rolname <> ALL(%s)
"""
_IS_NEEDED = "SELECT true FROM pg_extension WHERE extname = 'pg_stat_statements'"
_APPLICATION = "opssight-migrate/restored"
# A superuser runs what it is given as a program, if it says so: plain SQL gets no such role.
_READER, _OWNERS = "opssight_plain_sql", "opssight_owners"


def mirror(live: Session, host: Session) -> None:
    """Make every role of ``live`` on our own server, without a right and without a password."""
    there = {name for (name,) in host.rows(_ROLES)}
    for (name,) in live.rows(_ROLES):
        if name not in there:
            host.execute(SQL("CREATE ROLE {}").format(Identifier(name)))


@contextmanager
def without_rights(live: Session, host: Session, database: str) -> Iterator[Session]:
    """Lend a session on ``database`` whose role owns it, and may give objects to every other.

    It is no superuser: SQL of a file can neither start programs nor read files with it.
    """
    place, reader, owners = Identifier(database), Identifier(_READER), Identifier(_OWNERS)
    there = {name for (name,) in host.rows(_ROLES)}
    for name, kind in ((_READER, SQL("LOGIN")), (_OWNERS, SQL("NOLOGIN"))):
        if name not in there:
            host.execute(SQL("CREATE ROLE {} {}").format(Identifier(name), kind))
    # A run that was killed while it made an extension may have left it otherwise.
    host.execute(SQL("ALTER ROLE {} NOSUPERUSER").format(reader))
    for (name,) in host.rows(_ORDINARY, ([_READER, _OWNERS],)):
        host.execute(SQL("GRANT {} TO {}").format(Identifier(name), reader))
        host.execute(SQL("GRANT {} TO {}").format(owners, Identifier(name)))
    host.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(place, reader))
    host.execute(SQL("GRANT CREATE ON DATABASE {} TO {}").format(place, owners))
    administrator = siblings.sibling(host, database, _APPLICATION)
    given = SQL("GRANT CREATE ON SCHEMA public TO {}").format(owners)
    taken = SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(owners)
    try:
        administrator.execute(given)
        conninfo = make_conninfo(siblings.conninfo(host, database), user=_READER)
        session = connect.opened(conninfo, application_name=_APPLICATION)
        try:
            _make_extension(live, host, session)
            yield session
        finally:
            session.close()
        administrator.execute(taken)
    finally:
        administrator.close()


def _make_extension(live: Session, host: Session, session: Session) -> None:
    """Make the one extension that many have and only a superuser makes; trusted ones need none."""
    if not live.scalar(_IS_NEEDED):
        return
    reader = Identifier(_READER)
    host.execute(SQL("ALTER ROLE {} SUPERUSER").format(reader))
    try:
        session.execute("CREATE EXTENSION pg_stat_statements")
    finally:
        host.execute(SQL("ALTER ROLE {} NOSUPERUSER").format(reader))
