"""``rollback``: plan with its loss ledger, ask, undo, prove."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from opssight_migrate.commands import operators, rehearsal, undertaking, wiring
from opssight_migrate.commands.draft import Draft, status_of
from opssight_migrate.engine import preflight
from opssight_migrate.engine.retreat import Retreat, retreat
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.engine.unwinder import Unwinder
from opssight_migrate.model.errors import MigrateError, UsageError
from opssight_migrate.model.events import (
    Emit,
    Event,
    Noted,
    PlanMade,
    RunFinished,
    RunStarted,
)
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Next, Report, Status
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import exclusive, journal, marker, past_runs, standing, unfinished
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.settings import Profile, Settings

Confirm = Callable[[Plan, bool], None]
SafetyBackup = Callable[[Session, Plan], None]
"""Takes a backup before the first change; raises what stops the rollback if it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest:
    """What the operator asked for: back to a revision, or to before a run.

    ``argv_hint`` is how to name the same environment again, for the ``next:`` lines.
    """

    to_revision: str | None = None
    run: str | None = None
    dry_run: bool = False
    argv_hint: str = ""


def rollback(
    settings: Settings,
    profile: Profile,
    request: RollbackRequest,
    *,
    confirm: Confirm,
    emit: Emit,
    safety_backup: SafetyBackup | None = None,
) -> Report:
    """Undo revisions by schema; every error of ours ends in the report.

    ``confirm`` is asked once, with the plan and whether the database is a copy to adopt; it
    raises NotConfirmedError to decline. ``safety_backup`` comes after it and before any change.
    """
    draft = Draft("rollback", profile, dry_run=request.dry_run)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.reachable(profile, tell) as opened:
        session = opened("opssight-migrate/rollback")
        try:
            work = SchemaRollback(settings, profile, request, opened, session, draft, tell)
            work.go(confirm, safety_backup)
        finally:
            session.close()
    return draft.report()


class SchemaRollback:
    """One run of the verb, from the look to the end of its journal row."""

    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        request: RollbackRequest,
        opened: Callable[[str], Session],
        session: Session,
        draft: Draft,
        emit: Emit,
    ) -> None:
        self.settings = settings
        self.profile = profile
        self.request = request
        self.observer = Observer(lambda: opened("opssight-migrate/observer"))
        self.session = session
        self.draft = draft
        self.emit = emit
        self.stop = StopSignal(session, emit)
        self.monitor = Monitor(lambda: opened("opssight-migrate/monitor"), self._warn)
        self.governor = undertaking.governed(self.monitor, profile, self.stop, emit)

    def go(self, confirm: Confirm, safety_backup: SafetyBackup | None) -> None:
        """Look, ask and do."""
        if not self.request.dry_run:
            operators.refuse_stranger(self.session, self.profile, "rollback")
            exclusive.take(self.session)
            exclusive.end_orphans(self.session)
        back = self._looked()
        self.emit(PlanMade(plan=back.plan))
        self.draft.revision_to = back.plan.revision_from
        self.draft.shims = standing.shims_standing(back.catalogue)
        for blocker in back.plan.blockers[1:]:
            self.draft.block(blocker)
        if refusal := preflight.refusal(back.plan.blockers):
            raise refusal
        if back.is_empty:
            self.draft.status = "nothing_to_do"
            self._next("status", undertaking.WHAT_MAY_FOLLOW)
            return
        if self.request.dry_run:
            self.draft.status = "pending"
            run = self.request.run
            way = f"--run {run}" if run else f"--to-revision {back.plan.revision_to}"
            self._next(f"rollback {way}", "carry out this plan")
            return
        confirm(back.plan, back.is_copy)
        if safety_backup is not None:
            safety_backup(self.session, back.plan)
        with self.stop.listening():
            archive = self.carry_out(back)
        if back.steps or back.is_unproven:
            rehearsal.after_rollback(self.profile, self.session, self.draft, self.emit)
        if back.is_unproven or any(step.kind == "schema" for step in back.steps):
            why = "the schema is its own again"
            self.draft.next.append(Next(command="deploy the old OpsSight release", why=why))
        self._say_what_next(archive)

    def _looked(self) -> Retreat:
        ctx = wiring.looking(self.session, self.profile, self.emit)
        if self.request.run is not None:
            with self.session.reading():
                target, obstacles = past_runs.before(self.session, self.request.run)
                worked_on = past_runs.worked_on(self.session, self.request.run)
            return retreat(ctx, target, obstacles, worked_on)
        return retreat(ctx, self._named_revision())

    def _named_revision(self) -> str:
        target = self.request.to_revision
        if target is None:
            raise UsageError(
                "where to? Neither a revision nor a run is named",
                hint=f"opssight-migrate rollback --to-revision {revisions.START}",
            )
        undertaking.refuse_unpublished(target)
        return target

    def carry_out(self, back: Retreat) -> str:
        """Undo what the plan says, with a run of its own in the journal; return the archive."""
        plan = back.plan
        with self.session.writing():
            journal.install(self.session)
            marker.mark(self.session, self.profile.name, plan.database, adopt=back.is_copy)
        book = Journal.begin(
            self.session, undertaking.facts_of("rollback", self.settings, self.profile, plan)
        )
        self.emit(RunStarted(run_id=book.run_id, resumes=book.resumes, steps_total=len(plan.steps)))
        with self.session.writing():
            undertaking.leave_trace(book, f"rollback to {plan.revision_to} begins", plan)
        unwinder = self._unwinder(book)
        started = time.monotonic()
        status: Status = "failed"
        try:
            self.draft.proof = unwinder.run(back)
            with self.session.writing():
                book.guard()
                undertaking.leave_trace(book, f"rolled back to {plan.revision_to}", plan)
                book.end("ok")
                unfinished.supersede(self.session, book.run_id)
            status = self.draft.status
        except MigrateError as error:
            ended = undertaking.as_resumable(self.stop.reason(error))
            status = status_of(ended)
            undertaking.ended_badly(
                book,
                ended,
                lambda how: undertaking.leave_trace(book, f"rollback {how}", plan),
                self.emit,
            )
            raise ended from error
        finally:
            self.monitor.close()
            undertaking.close(self.observer, self.emit)
            undertaking.account(self.draft, self.governor)
            undertaking.look_again(self.session, self.draft)
            elapsed_s = time.monotonic() - started
            self.emit(RunFinished(run_id=book.run_id, status=status, elapsed_s=elapsed_s))
        return unwinder.archive

    def _say_what_next(self, archive: str) -> None:
        kept = [one for one in self.draft.plan.losses if one.rows] if self.draft.plan else []
        why = f"brings home what {archive} keeps" if kept else "go forward again, any time"
        self._next("migrate", why)

    def _unwinder(self, book: Journal) -> Unwinder:
        ctx = wiring.looking(self.session, self.profile, self.emit)
        unwinder = Unwinder(ctx=ctx, journal=book)
        drive = replace(
            undertaking.driven(ctx, self.stop, self.observer),
            on_stamp=unwinder.on_stamp,
            emit=unwinder.hear,
            pace=self.governor.pace,
        )
        return replace(unwinder, ctx=replace(ctx, drive=drive, emit=unwinder.hear))

    def _warn(self, message: str) -> None:
        self.emit(Noted(severity="warning", message=message))

    def _next(self, verb: str, why: str) -> None:
        self.draft.next.append(undertaking.next_step(verb, self.request.argv_hint, why))
