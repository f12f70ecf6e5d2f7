"""Runs checks, each in a READ ONLY transaction: the server itself refuses one that writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opssight_migrate.checks.base import Check
from opssight_migrate.model.plan import Finding
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check found. ``skipped`` when the database is before the check's revision."""

    check: Check
    findings: tuple[Finding, ...]
    skipped: bool


def run_checks(checks: Sequence[Check], session: Session) -> tuple[Outcome, ...]:
    """Run each check in a snapshot of its own."""
    return tuple(_run(check, session) for check in checks)


def _run(check: Check, session: Session) -> Outcome:
    with session.reading():
        current = catalog.current_revision(session)
        if current is None or not revisions.is_published(current):
            return Outcome(check=check, findings=(), skipped=True)
        if not revisions.is_at_least(current, check.needs):
            return Outcome(check=check, findings=(), skipped=True)
        return Outcome(check=check, findings=tuple(check.run(session)), skipped=False)
