"""What the verbs that write have in common: how a run ends, well or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from opssight_migrate import __version__
from opssight_migrate.commands.draft import Draft
from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.signals import usual_signals
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.model.errors import (
    DeadlineError,
    ExitCode,
    InterruptedRunError,
    MigrateError,
    PartialError,
    RefusedError,
    Touched,
    UsageError,
)
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import CheckResult, Diagnostic, Lost, Next
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import catalog, reader, standing
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.journal import Audit, Journal, RunFacts
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.steps.base import StepContext

WHAT_MAY_FOLLOW = "where the database is, and what may follow"
"""Why to look at the status where there was nothing to do."""

CHUNKS_WHY = "compress and split the tables that became chunks: until then their policies wait"
"""Why an adopted chunk is not kept for ever."""


def facts_of(command: str, settings: Settings, profile: Profile, plan: Plan) -> RunFacts:
    """Return what the journal keeps of a run that carries out ``plan``."""
    return RunFacts(
        command=command,
        environment=profile.name,
        tool_version=__version__,
        server_version=plan.database.server_version,
        settings_digest=settings.digest(),
        plan_digest=plan.digest,
        revision_from=plan.revision_from,
        revision_to=plan.revision_to,
    )


def driven(
    ctx: StepContext, stop: StopSignal, observer: Observer, *, ends_sleepers: bool = False
) -> Drive:
    """Return the drive of a run: its profile's budgets, its stop signal, its second connection."""
    profile = ctx.profile
    organization = profile.tenancy.default_organization
    return replace(
        ctx.drive,
        organization=(organization.name, organization.slug),
        budget_s=profile.lock_budget.total_seconds(),
        stall_budget_s=profile.stall_budget.total_seconds(),
        pause_point=stop.pause_point,
        observer=observer,
        ends_sleepers=ends_sleepers,
    )


def governed(monitor: Monitor, profile: Profile, stop: StopSignal, emit: Emit) -> Governor:
    """Return the governor of a run, with the limits of its profile."""
    return Governor(
        usual_signals(monitor, profile.governor),
        emit=emit,
        pause_point=stop.pause_point,
        budget_s=profile.governor.budget.total_seconds(),
    )


def account(draft: Draft, governor: Governor) -> None:
    """Say in the report how long the run waited, and for what."""
    if lost := governor.lost():
        by_cause_ms = {cause: round(lost_s * 1000) for cause, lost_s in lost.items()}
        draft.lost = Lost(by_cause_ms=by_cause_ms, sentence=governor.sentence())


def leave_trace(book: Journal, description: str, plan: Plan) -> None:
    """Leave the audit row of a run that moves the database between revisions."""
    book.audit(
        Audit(operation="UPDATE", severity="HIGH", table="alembic_version"),
        description,
        record=book.run_id,
        context={"from": plan.revision_from, "to": plan.revision_to},
    )


def refuse_unpublished(target: str) -> None:
    """Raise UsageError for a revision that is none of the published ones, whole ids only."""
    if not revisions.is_published(target):
        known = ", ".join(revision.id for revision in revisions.REVISIONS)
        raise UsageError(
            f"revision {target!r} is none of the published ones", hint=f"write one of: {known}"
        )


def next_step(verb: str, argv_hint: str, why: str) -> Next:
    """Return a command of ours that may follow, on the same environment."""
    command = " ".join(filter(None, ("opssight-migrate", verb, argv_hint)))
    return Next(command=command, why=why)


def as_resumable(error: MigrateError) -> MigrateError:
    """Once a run has begun, what stops it is no longer a refusal that touched nothing."""
    if isinstance(error, RefusedError) or error.exit_code is ExitCode.CONNECT:
        return PartialError(
            error.message, hint=error.hint, where=error.where, sqlstate=error.sqlstate
        )
    error.touched = Touched.RESUMABLE
    return error


def ended_badly(
    book: Journal, error: MigrateError, trace: Callable[[str], None], emit: Emit
) -> None:
    """Write the end into the journal, where there still is a connection to write with."""
    is_asked_for = isinstance(error, InterruptedRunError | DeadlineError)
    status = "interrupted" if is_asked_for else "failed"
    try:
        with book.session.writing():
            trace(f"{status}: {error.code}")
            book.end(status, f"{error.code}: {error.message}")
    except MigrateError as second:
        emit(Noted(severity="warning", message=f"the journal lacks this end: {second.message}"))


def close(observer: Observer, emit: Emit) -> None:
    """Close the second connection, and say so if it could not see."""
    observer.close()
    if observer.blind_because is not None:
        message = f"lock receipts lack their victims: {observer.blind_because}"
        emit(Noted(severity="warning", message=message))


def validate(session: Session, draft: Draft, target: str | None) -> None:
    """Say in the report whether revision and catalogue are what a rollback was to end with."""
    with session.reading():
        now = catalog.current_revision(session)
        is_known = now is not None and revisions.is_published(now)
        altered = standing.refused(session, now, reader.read_catalogue(session)) if is_known else []
    is_there = now == target
    draft.checks += [
        _check("revision", f"The database is at {target}", 0 if is_there else 1),
        _check("catalogue", f"The catalogue is that of {now}", len(altered)),
    ]
    for one in altered:
        message = f"after the rollback, {one.sentence}"
        draft.diagnostics.append(
            Diagnostic(
                code="catalogue", severity="warning", message=message, hint=one.mending or None
            )
        )


def _check(name: str, title: str, findings: int) -> CheckResult:
    return CheckResult(
        id=name,
        title=title,
        category="rollback",
        status="failed" if findings else "passed",
        findings=findings,
    )


def look_again(session: Session, draft: Draft) -> None:
    """Say in the report where the database is now."""
    if session.connection.closed:
        return
    with draft.recording(), session.reading():
        draft.revision_to = catalog.current_revision(session)
        draft.shims = standing.shims_standing(reader.read_catalogue(session))
