"""``verify``: ask the database whether what must hold does hold. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opssight_migrate import web
from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import CATEGORIES, Check, CheckContext, Rehearsal
from opssight_migrate.commands import undertaking, way_back, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.commands.identities import AskPassphrase
from opssight_migrate.commands.way_back import WayBack
from opssight_migrate.engine import checker, preflight
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.errors import ExitCode, ShapeError, UsageError
from opssight_migrate.model.events import Emit, Event
from opssight_migrate.model.plan import Severity
from opssight_migrate.model.report import (
    CheckResult,
    ForecastTime,
    LastRun,
    LockReceipt,
    Next,
    Report,
    ReportStep,
    Rows,
)
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import (
    catalog,
    connect,
    journal,
    read_waits,
    reader,
    standing,
    step_times,
)
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.step_times import StepTime
from opssight_migrate.settings import Profile, Settings

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What the operator asked for: checks by category or id (empty: all), and how.

    ``restores`` rehearses a rollback with the newest backup, opened with ``identity`` or what
    ``ask`` asks for; ``probe`` lets checks write rows that are rolled back; ``show_sql`` keeps what
    would mend a finding; ``argv_hint`` is how to name the same environment again, for ``next:``.
    """

    categories: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    restores: bool = False
    identity: Path | None = None
    ask: AskPassphrase | None = None
    probe: bool = False
    show_sql: bool = False
    argv_hint: str = ""


def listed(request: VerifyRequest | None = None) -> tuple[tuple[str, str, str], ...]:
    """Return the id, title and category of each check asked for, in the order of the run."""
    chosen = CHECKS if request is None else _chosen(request)
    return tuple((check.id, check.title, check.category) for check in chosen)


def verify(
    settings: Settings, profile: Profile, request: VerifyRequest | None = None, *, emit: Emit
) -> Report:
    """Run the checks (all, or those named) and report their findings: exit 1 if there are any."""
    request = request or VerifyRequest()
    draft = Draft("verify", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording():
        checks = _chosen(request)
        rehearsal = _rehearsal(settings, profile, request, checks)
        with wiring.connected(profile, "verify", tell) as session:
            draft.database = connect.facts(session)
            budget_s = profile.lock_budget.total_seconds()

            def look() -> Catalogue:
                with session.reading():
                    draft.revision_to = catalog.current_revision(session)
                    draft.last_run = _last_run(session)
                    return reader.read_catalogue(session)

            # From PostgreSQL 17 on, reading a default waits for its table.
            actual = read_waits.unhindered(
                session, look, name="verify", budget_s=budget_s, emit=tell
            )
            _refuse_unknown(draft.revision_to, actual)
            draft.shims = standing.shims_standing(actual)
            ctx = CheckContext(
                session=session,
                time_series=profile.time_series,
                default_role=profile.rbac.default_role,
                probing=request.probe,
                lock_budget_s=budget_s,
                rehearsal=rehearsal,
                requests=web.requests_of(settings.verify.http, profile.platform_url),
                emit=tell,
            )
            for outcome in checker.run_checks(checks, ctx):
                _take_down(draft, outcome, show_sql=request.show_sql)
        if draft.exit_code is ExitCode.FINDINGS:
            draft.status = "findings"
            draft.next.append(_see("status", request, "see what a run would do about it"))
        else:
            draft.next.append(_see("status", request, undertaking.WHAT_MAY_FOLLOW))
    return draft.report()


def _refuse_unknown(current: str | None, actual: Catalogue) -> None:
    """Raise RefusedError where nobody can say what must hold: not OpsSight's, or not there yet."""
    if refusal := preflight.refusal(preflight.shape(current, actual)):
        raise refusal
    if current is None:
        raise ShapeError(
            "there is nothing to verify: no revision of OpsSight is stamped in this database",
            where="alembic_version",
            hint="check the profile's URL: opssight-migrate status",
        )


def _rehearsal(
    settings: Settings, profile: Profile, request: VerifyRequest, checks: Sequence[Check]
) -> Rehearsal | None:
    """Return how a rollback is rehearsed: with a backup where that was asked for.

    Raises: UsageError, BackupError and what opening the backup raises.
    """
    if not request.restores:
        if request.identity is not None:
            raise UsageError(
                "--identity opens the backup of --restore, which is not asked for",
                hint="opssight-migrate verify -t rollback --restore --identity FILE",
            )
        if not settings.verify.rehearse:
            return None
        return WayBack(settings=settings, profile=profile)
    if not any(check.category == "rollback" for check in checks):
        raise UsageError(
            "--restore belongs to the rehearsal of a rollback, which is not asked for",
            hint="opssight-migrate verify -t rollback --restore",
        )
    return way_back.from_backup(settings, profile, request.identity, request.ask)


def _last_run(session: Session) -> LastRun | None:
    last = journal.last_run(session)
    if last is None:
        return None
    return LastRun(
        id=last.id,
        command=last.command,
        status=last.status,
        started_at=last.started_at,
        finished_at=last.finished_at,
        error=last.error,
        steps=tuple(_step(one) for one in step_times.of_the_newest_run(session)),
    )


def _step(one: StepTime) -> ReportStep:
    forecast = None
    if one.forecast_ms:
        forecast = ForecastTime(p50_ms=one.forecast_ms, p90_ms=one.forecast_ms)
    return ReportStep(
        id=one.step_id,
        title=one.step_id,
        kind="schema" if one.kind == "schema" else "data",
        status="done" if one.status == "done" else "failed",
        duration_ms=one.took_ms,
        forecast=forecast,
        rows=None if one.rows is None else Rows(done=one.rows, total=one.rows, exact=True),
        locks=tuple(
            LockReceipt(relation=relation, mode=mode, waited_ms=waited, held_ms=held)
            for relation, mode, waited, held in one.locks
        ),
    )


def _see(verb: str, request: VerifyRequest, why: str) -> Next:
    command = " ".join(filter(None, ("opssight-migrate", verb, request.argv_hint)))
    return Next(command=command, why=why)


def _chosen(request: VerifyRequest) -> tuple[Check, ...]:
    """Return the checks of these categories and, if any are named, of these ids only."""
    for wanted, known in ((request.only, _ids()), (request.categories, (ALL, *CATEGORIES))):
        if unknown := [name for name in wanted if name not in known]:
            raise UsageError(
                f"there is no check {unknown[0]!r}", hint="opssight-migrate verify --list"
            )
    categories = set(request.categories) or {ALL}
    chosen = tuple(
        check
        for check in CHECKS
        if (ALL in categories or check.category in categories)
        and (not request.only or check.id in request.only)
    )
    if not chosen:
        raise UsageError(
            f"{request.only[0]} is in none of these categories",
            hint="opssight-migrate verify --list",
        )
    return chosen


def _ids() -> tuple[str, ...]:
    return tuple(check.id for check in CHECKS)


def _take_down(draft: Draft, outcome: Outcome, *, show_sql: bool) -> None:
    bad = [f for f in outcome.findings if f.severity is not Severity.NOTE]
    status: Literal["passed", "failed", "skipped"] = "failed" if bad else "passed"
    if outcome.skipped is not None:
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
            reason=outcome.skipped,
            duration_ms=round(outcome.elapsed_s * 1000),
        )
    )
    for finding in outcome.findings:
        draft.find(finding, with_sql=show_sql)
