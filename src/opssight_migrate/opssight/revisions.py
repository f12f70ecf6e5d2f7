"""The published revisions of OpsSight's chain, oldest first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One published revision. ``adds`` says in a few words what it brings."""

    id: str
    title: str
    adds: str


REVISIONS: tuple[Revision, ...] = (
    Revision(id="d8b40ecdc203", title="initial", adds="the 22 single-tenant tables"),
    Revision(id="85f9e3f15142", title="multi-tenancy", adds="organizations, organization_id"),
    Revision(id="85832f9f86ce", title="rbac", adds="user_roles, system roles and permissions"),
    Revision(id="b521a10e8182", title="time-series", adds="metrics, log_entries, events"),
    Revision(id="80bd6a3c3fa1", title="audit logging", adds="audit_logs, audit_configurations"),
    Revision(id="e988b93edd68", title="user permissions", adds="user_permissions"),
    Revision(id="3fd5b7393728", title="granted by", adds="user_permissions.granted_by"),
)

START = "d8b40ecdc203"
MULTI_TENANCY = "85f9e3f15142"
RBAC = "85832f9f86ce"
TIME_SERIES = "b521a10e8182"
AUDIT = "80bd6a3c3fa1"
TARGET = AUDIT
HEAD = REVISIONS[-1].id

_POSITIONS = {revision.id: place for place, revision in enumerate(REVISIONS)}


def is_published(revision: str) -> bool:
    """Tell whether ``revision`` is one of the chain, by its whole name and never a part of it."""
    return revision in _POSITIONS


def is_at_least(current: str | None, wanted: str) -> bool:
    """Tell whether a database at ``current`` has ``wanted`` already (None: an empty database)."""
    return current is not None and _POSITIONS[current] >= _POSITIONS[wanted]


def before(revision: str) -> str | None:
    """Return the revision that comes before, or None before the first."""
    place = _POSITIONS[revision]
    return REVISIONS[place - 1].id if place else None


def between(current: str | None, target: str) -> tuple[Revision, ...]:
    """Return the revisions still to apply, oldest first; empty when ``current`` is beyond."""
    first = 0 if current is None else _POSITIONS[current] + 1
    return REVISIONS[first : _POSITIONS[target] + 1]
