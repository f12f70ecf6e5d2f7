"""Logical replication of our tables: DDL is not replicated, so a subscriber would break."""

from __future__ import annotations

from collections.abc import Sequence

from opssight_migrate.postgres.session import Session

_PUBLISHED = """
SELECT pubname::text, array_agg(tablename::text ORDER BY tablename)
  FROM pg_publication_tables
 WHERE schemaname = 'public' AND tablename = ANY(%s)
 GROUP BY 1 ORDER BY 1
"""
_ACTIVE_SLOTS = """
SELECT slot_name::text FROM pg_replication_slots
 WHERE slot_type = 'logical' AND active AND database = current_database()
 ORDER BY 1
"""


def published(session: Session, tables: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the publications that carry some of ``tables``, with these tables."""
    return {name: tuple(found) for name, found in session.rows(_PUBLISHED, (list(tables),))}


def active_slots(session: Session) -> tuple[str, ...]:
    """Return the names of the logical slots of this database that somebody reads right now."""
    return tuple(name for (name,) in session.rows(_ACTIVE_SLOTS))
