"""Runs checks, each in a READ ONLY transaction: the server itself refuses one that writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from opssight_migrate.checks.base import Check, CheckContext, NotAskableError
from opssight_migrate.model.plan import Finding
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check found. ``skipped`` says why it was not asked, None where it was."""

    check: Check
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None
    elapsed_s: float = 0.0


def run_checks(
    checks: Sequence[Check],
    ctx: CheckContext,
    *,
    pause_point: Callable[[], None] = lambda: None,
) -> Iterator[Outcome]:
    """Run each check in a snapshot of its own; where probing, those write that roll back."""
    for check in checks:
        pause_point()
        started = time.monotonic()
        findings: list[Finding] = []
        with ctx.session.reading():
            skipped = _skipped(check, ctx)
            if skipped is None:
                findings += check.run(ctx)
        if ctx.probing and skipped is None:
            with ctx.session.trying():
                findings += check.probe(ctx)
        if skipped is None:
            try:
                findings += check.rehearse(ctx)
            except NotAskableError as reason:
                skipped = str(reason)
        yield Outcome(
            check=check,
            findings=tuple(findings),
            skipped=skipped,
            elapsed_s=time.monotonic() - started,
        )


def _skipped(check: Check, ctx: CheckContext) -> str | None:
    current = catalog.current_revision(ctx.session)
    if current is None or not revisions.is_published(current):
        return "the database is at none of the published revisions"
    if not revisions.is_at_least(current, check.needs):
        return f"it begins at revision {check.needs}"
    return check.skipped(ctx)
