"""``verify``: ask the database whether what must hold does hold. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import Check
from opssight_migrate.commands import wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.engine import checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.errors import ExitCode, UsageError
from opssight_migrate.model.events import Emit, Event
from opssight_migrate.model.plan import Severity
from opssight_migrate.model.report import CheckResult, Next, Report
from opssight_migrate.postgres import catalog, connect, reader, standing
from opssight_migrate.settings import Profile, Settings


def listed() -> tuple[tuple[str, str, str], ...]:
    """Return the id, title and category of each check, in the order in which they run."""
    return tuple((check.id, check.title, check.category) for check in CHECKS)


def verify(
    settings: Settings,
    profile: Profile,
    *,
    only: Sequence[str] = (),
    emit: Emit,
    argv_hint: str = "",
) -> Report:
    """Run the checks (all, or those named) and report their findings: exit 1 if there are any."""
    del settings
    draft = Draft("verify", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording():
        checks = _chosen(only)
        with wiring.connected(profile, "verify", tell) as session:
            draft.database = connect.facts(session)
            with session.reading():
                draft.revision_to = catalog.current_revision(session)
                draft.shims = standing.shims_standing(reader.read_catalogue(session))
            for outcome in checker.run_checks(checks, session):
                _take_down(draft, outcome)
        if draft.exit_code is ExitCode.FINDINGS:
            draft.status = "findings"
            command = " ".join(filter(None, ("opssight-migrate status", argv_hint)))
            draft.next.append(Next(command=command, why="see what a run would do about it"))
    return draft.report()


def _chosen(only: Sequence[str]) -> tuple[Check, ...]:
    known = {check.id for check in CHECKS}
    if unknown := [name for name in only if name not in known]:
        raise UsageError(f"there is no check {unknown[0]!r}", hint="opssight-migrate verify --list")
    return tuple(check for check in CHECKS if not only or check.id in only)


def _take_down(draft: Draft, outcome: Outcome) -> None:
    bad = [f for f in outcome.findings if f.severity is not Severity.NOTE]
    status: Literal["passed", "failed", "skipped"] = "failed" if bad else "passed"
    if outcome.skipped:
        status = "skipped"
    if bad:
        draft.exit_code = ExitCode.FINDINGS
    draft.checks.append(
        CheckResult(
            id=outcome.check.id,
            title=outcome.check.title,
            category=outcome.check.category,
            status=status,
            findings=len(bad),
        )
    )
    for finding in outcome.findings:
        draft.find(finding)
