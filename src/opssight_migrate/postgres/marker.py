"""The marker: a database remembers the environment that it belongs to, and that it is itself."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.model.errors import MarkerError
from opssight_migrate.model.plan import DatabaseFacts
from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

_MARKER = """
SELECT environment, system_identifier, database_oid FROM opssight_migrate.installation
"""
_MARKED = """
INSERT INTO opssight_migrate.installation (environment, system_identifier, database_oid)
VALUES (%(environment)s, %(system_identifier)s, %(database_oid)s)
    ON CONFLICT DO NOTHING
"""
_ADOPTED = """
UPDATE opssight_migrate.installation
   SET environment = %(environment)s, system_identifier = %(system_identifier)s,
       database_oid = %(database_oid)s, marked_at = now()
"""


@dataclass(frozen=True, slots=True)
class Marker:
    """The environment that a database belongs to, and the very database that was marked."""

    environment: str
    system_identifier: str
    database_oid: int


def read(session: Session) -> Marker | None:
    """Return what the database remembers of its environment, or None before the first run."""
    row = session.row(_MARKER) if journal.exists(session) else None
    return None if row is None else Marker(*row)


def is_copy(marker: Marker, environment: str, facts: DatabaseFacts) -> bool:
    """Compare the environment that the database remembers with the one we were told.

    Returns True for a copy (restored or cloned elsewhere), which has yet to be adopted.

    Raises: MarkerError when it remembers another name.
    """
    if (marker.system_identifier, marker.database_oid) != (
        facts.system_identifier,
        facts.database_oid,
    ):
        return True
    if marker.environment != environment:
        raise MarkerError(
            f"this database belongs to environment {marker.environment!r}, not {environment!r}",
            where=f"{facts.host}:{facts.port}/{facts.name}",
            hint=f"use -e {marker.environment}, or correct the URL of environment {environment}",
        )
    return False


def mark(session: Session, environment: str, facts: DatabaseFacts, *, adopt: bool) -> None:
    """Mark the database as this environment's; ``adopt`` marks a copy anew."""
    values = {
        "environment": environment,
        "system_identifier": facts.system_identifier,
        "database_oid": facts.database_oid,
    }
    session.execute(_MARKED, values)
    if adopt:
        session.execute(_ADOPTED, values)
