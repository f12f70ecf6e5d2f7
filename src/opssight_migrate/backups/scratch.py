"""A scratch database beside the one that is backed up: what is restored there proves the dump."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from opssight_migrate.model.errors import MigrateError, PrivilegeError
from opssight_migrate.postgres import privileges, properties, siblings
from opssight_migrate.postgres.properties import DatabaseProperties
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

PREFIX = "opssight_proof_"
"""How the names of scratch databases begin; ``cleanup --artifacts`` lists those left behind."""

PLAIN = DatabaseProperties(
    owner="",
    encoding="UTF8",
    collate="C",
    ctype="C",
    provider="c",
    locale=None,
    comment=None,
    connection_limit=-1,
    grants=None,
    settings=(),
)
"""What a database on another server is made like, where rows are compared and nothing is sorted."""

_APPLICATION = "opssight-migrate/proof"
_MAY_CREATE = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
_LEFT_BEHIND = """
SELECT d.datname::text FROM pg_database AS d
 WHERE starts_with(d.datname, %s) AND pg_has_role(d.datdba, 'USAGE')
"""
_LOCKED = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_FREED = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"


def is_possible(session: Session) -> bool:
    """Tell whether our role may make a scratch database."""
    return bool(session.scalar(_MAY_CREATE))


@contextmanager
def scratch(
    session: Session, like: DatabaseProperties, *, owner: str | None = None
) -> Iterator[str]:
    """Lend an empty database on the same server, sorted and encoded alike; gone at the end.

    Those of a killed process go at the next start: whoever lives holds a lock on its own.

    Raises: PrivilegeError if our role may not make one.
    """
    if not is_possible(session):
        raise PrivilegeError(
            "a backup is restored into a scratch database, and this role may make none (CREATEDB)",
            hint=f"{privileges.createdb(session)};",
        )
    name = f"{PREFIX}{uuid4().hex[:12]}"
    maintenance = siblings.sibling(session, siblings.MAINTENANCE, _APPLICATION)
    try:
        _sweep(maintenance)
        maintenance.scalar(_LOCKED, (name,))
        properties.create(maintenance, name, like, owner=owner)
        try:
            yield name
        except BaseException:
            # A server whose disk is full cannot even drop it; what went wrong is told, not that.
            with suppress(MigrateError):
                _drop(maintenance, name)
            raise
        _drop(maintenance, name)
    finally:
        maintenance.close()


def abandoned(session: Session) -> frozenset[str]:
    """Return the scratch databases on the session's server whose process does not live any more."""
    maintenance = siblings.sibling(session, siblings.MAINTENANCE, _APPLICATION)
    try:
        found: set[str] = set()
        for (name,) in maintenance.rows(_LEFT_BEHIND, (PREFIX,)):
            if maintenance.scalar(_LOCKED, (name,)):
                found.add(name)
                maintenance.scalar(_FREED, (name,))
        return frozenset(found)
    finally:
        maintenance.close()


def drop_abandoned(session: Session, name: str) -> None:
    """Drop a scratch database, unless somebody holds it."""
    maintenance = siblings.sibling(session, siblings.MAINTENANCE, _APPLICATION)
    try:
        if maintenance.scalar(_LOCKED, (name,)):
            _drop(maintenance, name)
    finally:
        maintenance.close()


def _sweep(maintenance: Session) -> None:
    for (name,) in maintenance.rows(_LEFT_BEHIND, (PREFIX,)):
        if maintenance.scalar(_LOCKED, (name,)):
            _drop(maintenance, name)
            maintenance.scalar(_FREED, (name,))


def _drop(maintenance: Session, name: str) -> None:
    maintenance.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
