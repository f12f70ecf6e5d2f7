"""Runs checks, each in a READ ONLY transaction: the server itself refuses one that writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from opssight_migrate.checks.base import Check, CheckContext, NotAskableError
from opssight_migrate.model.errors import StatementError
from opssight_migrate.model.events import CheckStarted
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, read_waits

# What the server refuses because of what is in the database: a value, a constraint, an object that
# is gone or has another type, a damaged page. Anything else is no answer, and ends the checks.
_TELLING = ("22", "23", "42", "XX")


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
    """Run each check in a snapshot of its own; where probing, those write that roll back.

    Raises: LockBudgetError, where somebody keeps a table locked that a check reads.
    """
    for number, check in enumerate(checks, start=1):
        pause_point()
        ctx.emit(
            CheckStarted(
                check_id=check.id, title=check.title, number=number, checks_total=len(checks)
            )
        )
        started = time.monotonic()
        findings: list[Finding] = []
        skipped = None
        try:
            skipped = _ask(check, ctx, findings)
        except StatementError as error:
            if not (error.sqlstate or "").startswith(_TELLING):
                raise
            findings.append(_unanswered(check, error))
        yield Outcome(
            check=check,
            findings=tuple(findings),
            skipped=skipped,
            elapsed_s=time.monotonic() - started,
        )


def _ask(check: Check, ctx: CheckContext, findings: list[Finding]) -> str | None:
    """Add what the check finds, as it comes; return why it was not asked, None where it was."""

    def look() -> str | None:
        findings.clear()
        with ctx.session.reading():
            reason = _skipped(check, ctx)
            if reason is None:
                findings.extend(check.run(ctx))
            return reason

    skipped = read_waits.unhindered(
        ctx.session, look, name=check.id, budget_s=ctx.lock_budget_s, emit=ctx.emit
    )
    if ctx.probing and skipped is None:
        with ctx.session.trying():
            findings += check.probe(ctx)
    if skipped is None:
        try:
            findings += check.rehearse(ctx)
        except NotAskableError as reason:
            skipped = str(reason)
    return skipped


def _unanswered(check: Check, error: StatementError) -> Finding:
    """Say that the server could not answer; of a database in order it can ask each question."""
    return Finding(
        check_id=check.id,
        severity=Severity.FAIL,
        message=f"the server cannot answer: {error.message} ({error.sqlstate})",
        where=error.where,
        hint="opssight-migrate verify -t schema",
    )


def _skipped(check: Check, ctx: CheckContext) -> str | None:
    current = catalog.current_revision(ctx.session)
    if current is None or not revisions.is_published(current):
        return "the database is at none of the published revisions"
    if not revisions.is_at_least(current, check.needs):
        return f"it begins at revision {check.needs}"
    return check.skipped(ctx)
