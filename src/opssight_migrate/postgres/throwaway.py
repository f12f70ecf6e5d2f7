"""A database on our own server that is gone afterwards, and its owner with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

from psycopg import sql
from psycopg.conninfo import make_conninfo

from opssight_migrate.postgres import connect
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

PREFIX = "opssight_rehearsal_"
"""How the names of these databases, and of the roles that own them, begin."""

_LOCK = 0x5EA15A
_APPLICATION = "opssight-migrate/rehearsal"
_CREATE_ROLE = "CREATE ROLE {name} LOGIN"
_CREATE_DATABASE = "CREATE DATABASE {name} OWNER {name} TEMPLATE template0"
_LEFT_BEHIND = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
_ROLES_LEFT_BEHIND = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"


@contextmanager
def lent(cluster: Cluster) -> Iterator[str]:
    """Lend the conninfo of an empty database, as the role that owns it and nothing else.

    Both are gone at the end; those of a killed process go at the next start.
    """
    name = f"{PREFIX}{uuid4().hex[:12]}"
    maintenance = connect.opened(cluster.conninfo("postgres"), application_name=_APPLICATION)
    try:
        _sweep(maintenance)
        maintenance.execute("SELECT pg_advisory_lock_shared(%s)", (_LOCK,))
        for statement in (_CREATE_ROLE, _CREATE_DATABASE):
            maintenance.execute(sql.SQL(statement).format(name=sql.Identifier(name)))
        yield make_conninfo(cluster.conninfo(name), user=name)
    finally:
        if not maintenance.connection.closed:
            _drop(maintenance, [name], [name])
        maintenance.close()


def opened(conninfo: str) -> Session:
    """Open a session on such a database; what it commits need not outlive anything."""
    session = connect.opened(conninfo, application_name=_APPLICATION)
    session.execute("SELECT set_config('synchronous_commit', 'off', false)")
    return session


def _sweep(maintenance: Session) -> None:
    """Drop what killed processes left, if nobody else has borrowed one."""
    if maintenance.scalar("SELECT pg_try_advisory_lock(%s)", (_LOCK,)):
        databases = [name for (name,) in maintenance.rows(_LEFT_BEHIND, (PREFIX,))]
        roles = [name for (name,) in maintenance.rows(_ROLES_LEFT_BEHIND, (PREFIX,))]
        _drop(maintenance, databases, roles)
        maintenance.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _drop(maintenance: Session, databases: Sequence[str], roles: Sequence[str]) -> None:
    for name in databases:
        maintenance.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )
    for name in roles:
        maintenance.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
