"""``migrate``: plan, ask, carry out, prove."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from opssight_migrate.commands import (
    operators,
    rehearsal,
    safety,
    saved_plan,
    script,
    undertaking,
    unwinding,
    wiring,
)
from opssight_migrate.commands.draft import Draft, status_of
from opssight_migrate.commands.script import Script
from opssight_migrate.engine import planner, preflight
from opssight_migrate.engine.planner import Prospect
from opssight_migrate.engine.runner import Runner
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.engine.unwinder import Unwinder
from opssight_migrate.model.errors import (
    MigrateError,
)
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
from opssight_migrate.postgres import (
    exclusive,
    hypertables,
    journal,
    marker,
    standing,
    unfinished,
)
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.journal import Journal, RunFacts
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.steps.base import StepContext

Confirm = Callable[[Plan, bool], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateRequest:
    """What the operator asked for. ``to`` None is the configured target; ``argv_hint`` is how to
    name the same environment again, for the ``next:`` lines.
    """

    to: str | None = None
    dry_run: bool = False
    allow: tuple[str, ...] = ()
    ends_sleepers: bool = False
    plan_out: Path | None = None
    plan: Path | None = None
    wait_s: float | None = None
    deadline_s: float | None = None
    window_s: float | None = None
    tells_sql: bool = False
    argv_hint: str = ""


def migrate(
    settings: Settings, profile: Profile, request: MigrateRequest, *, confirm: Confirm, emit: Emit
) -> Report:
    """Take the database of ``profile`` to the target; every error of ours ends in the report.

    ``confirm`` is asked once, with the plan and whether the database is a copy to adopt; it
    raises NotConfirmedError to decline. It is not asked when there is nothing to do.
    """
    draft = Draft("migrate", profile, dry_run=request.dry_run)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.reachable(profile, tell) as opened:
        session = opened("opssight-migrate/migrate")
        try:
            _Migration(settings, profile, request, opened, session, draft, tell).go(confirm)
        finally:
            session.close()
    return draft.report()


class _Migration:
    """One run of the verb, from the look to the end of its journal row."""

    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        request: MigrateRequest,
        opened: Callable[[str], Session],
        session: Session,
        draft: Draft,
        emit: Emit,
    ) -> None:
        self.settings = settings
        self.profile = profile
        self.request = request
        self.observer = Observer(lambda: opened("opssight-migrate/observer"))
        self.monitor = Monitor(lambda: opened("opssight-migrate/monitor"), self._warn)
        self.session = session
        self.draft = draft
        self.emit = emit
        self.target = wiring.target_of(profile, request.to)
        self.stop = StopSignal(session, emit, deadline_s=request.deadline_s)

    def go(self, confirm: Confirm) -> None:
        """Look, ask and do."""
        if not self.request.dry_run:
            operators.refuse_stranger(self.session, self.profile, "migrate", self.target)
            wiring.take_turn(self.session, self.request.wait_s, self.emit)
            exclusive.end_orphans(self.session)
        prospect = planner.prospect(self._looking(), self.target)
        plan = safety.planned(self._rehearsed(prospect.plan), self.profile, self.session)
        prospect = replace(prospect, plan=plan)
        self.emit(PlanMade(plan=prospect.plan))
        self.draft.revision_to = prospect.plan.revision_from
        self.draft.shims = standing.shims_standing(prospect.catalogue)
        self._refuse(prospect.plan)
        if prospect.is_empty:
            self.draft.status = "nothing_to_do"
            self._next("status", undertaking.WHAT_MAY_FOLLOW)
            return
        self._keep_or_compare(prospect)
        if self.request.tells_sql:
            self.draft.sql = self._sql(prospect.plan)
        if self.request.dry_run:
            self.draft.status = "pending"
            self._next("migrate", "carry out this plan")
            return
        confirm(prospect.plan, prospect.is_copy)
        with self.stop.listening():
            self._carry_out(prospect)

    def _keep_or_compare(self, prospect: Prospect) -> None:
        """Write the plan to a file (--plan-out), or refuse where it is not the file's (--plan)."""
        plan, catalogue = prospect.plan, prospect.catalogue
        if self.request.plan is not None:
            again = f"opssight-migrate migrate {self.request.argv_hint} -n --plan-out FILE"
            saved_plan.refuse_if_moved(self.request.plan, plan, catalogue, again)
        if self.request.plan_out is not None:
            saved_plan.write(self.request.plan_out, plan, catalogue)

    def _sql(self, plan: Plan) -> str:
        """Carry the plan out on a stand-in for the database, and return what that executed."""
        told = Script(plan=plan)
        rows = script.is_populated(self.session)
        with script.stand_in(self.profile, told, is_populated=rows) as (profile, opened, heard):
            draft = Draft("migrate", profile)

            def hear(event: Event) -> None:
                draft.hear(event)
                told.hear(event)

            request = MigrateRequest(to=self.target)
            run = _Migration(self.settings, profile, request, opened, heard, draft, hear)
            run.go(lambda _plan, _is_copy: None)
        return told.text(is_populated=rows)

    def _rehearsed(self, plan: Plan) -> Plan:
        """Ask what the old release could no longer do, where the rest may begin."""
        if not plan.steps or not all(b.kind.may_be_allowed for b in plan.blockers):
            return plan
        findings = rehearsal.rehearse_old_release(
            self.profile, self.session, self.target, self.emit
        )
        return rehearsal.told(plan, findings, self.emit)

    def _refuse(self, plan: Plan) -> None:
        """Raise the refusal that the plan holds, if it does; each further reason is a diagnostic.

        Raises: RefusedError, of the kind of the first reason.
        """
        standing_in_the_way = [
            blocker
            for blocker in plan.blockers
            if not (blocker.kind.may_be_allowed and blocker.kind in self.request.allow)
        ]
        for blocker in standing_in_the_way[1:]:
            self.draft.block(blocker)
        if refusal := preflight.refusal(standing_in_the_way):
            raise refusal

    def _carry_out(self, prospect: Prospect) -> None:
        plan = prospect.plan
        made = safety.backup(self.profile, self.session, self.emit, self.stop.pause_point)
        if made is not None:
            self.draft.artifacts += safety.artifacts_of(made)
        with self.session.writing():
            journal.install(self.session)
            marker.mark(self.session, self.profile.name, plan.database, adopt=prospect.is_copy)
        book = Journal.begin(self.session, self._facts(plan))
        self.emit(RunStarted(run_id=book.run_id, resumes=book.resumes, steps_total=len(plan.steps)))
        with self.session.writing():
            undertaking.leave_trace(book, f"migration to {self.target} begins", plan)
            safety.leave_trace(book, made)
        runner = self._runner(book)
        started = time.monotonic()
        status: Status = "failed"
        try:
            self.draft.proof = runner.run(prospect.pending, plan.steps)
            with self.session.writing():
                book.guard()
                undertaking.leave_trace(book, f"migrated to {self.target}", plan)
                book.end("ok")
                unfinished.supersede(self.session, book.run_id)
            status = self.draft.status
        except MigrateError as error:
            ended = undertaking.as_resumable(self.stop.reason(error))
            what = f"migration to {self.target}"
            undertaking.ended_badly(
                book,
                ended,
                lambda how: undertaking.leave_trace(book, f"{what} {how}", plan),
                self.emit,
            )
            if self.profile.on_failure == "rollback" and unwinding.is_incurable(ended):
                ended = self._undone(book, ended)
            status = status_of(ended)
            raise ended from error
        finally:
            self.monitor.close()
            undertaking.close(self.observer, self.emit)
            undertaking.account(self.draft, runner.governor)
            undertaking.look_again(self.session, self.draft)
            elapsed_s = time.monotonic() - started
            self.emit(RunFinished(run_id=book.run_id, status=status, elapsed_s=elapsed_s))
        self._say_what_next(plan)

    def _say_what_next(self, plan: Plan) -> None:
        self._next("verify", "prove it again, any time")
        final = wiring.target_of(self.profile, None)
        is_final = revisions.is_at_least(self.target, final)
        if is_final:
            why = "the old one goes on working until then"
            self.draft.next.append(Next(command="deploy the new OpsSight release", why=why))
        else:
            self._next("migrate", f"on to {final}")
        if self.draft.shims and is_final:
            self._next(
                "cleanup --shims",
                f"once the old one is gone: until then {len(self.draft.shims)} shims stay for it",
            )
        if hypertables.some_adopted(self.session):
            self._next("cleanup --chunks", undertaking.CHUNKS_WHY)
        if plan.revision_from is not None and plan.revision_from != self.target:
            self._next(f"rollback --to-revision {plan.revision_from}", "the way back, any time")

    def _undone(self, book: Journal, error: MigrateError) -> MigrateError:
        """Undo everything that the run did; return what that ended with."""
        self.draft.is_undoing = True

        ctx = self._looking()

        def unwinder(second: Journal) -> Unwinder:
            made = Unwinder(ctx=ctx, journal=second)
            drive = replace(self._drive(ctx), on_stamp=made.on_stamp, emit=made.hear)
            return replace(made, ctx=replace(ctx, drive=drive, emit=made.hear))

        try:
            return unwinding.Unwinding(
                session=self.session,
                ctx=ctx,
                failed=book,
                unwinder=unwinder,
                facts=lambda back: replace(self._facts(back.plan), command="rollback"),
                emit=self.emit,
            ).go(error)
        except MigrateError as second:
            return undertaking.as_resumable(second)

    def _looking(self) -> StepContext:
        return wiring.looking(self.session, self.profile, self.emit, window_s=self.request.window_s)

    def _drive(self, ctx: StepContext) -> Drive:
        sleepers = self.request.ends_sleepers
        return undertaking.driven(ctx, self.stop, self.observer, ends_sleepers=sleepers)

    def _runner(self, book: Journal) -> Runner:
        ctx = self._looking()
        runner = Runner(
            ctx=ctx,
            journal=book,
            governor=undertaking.governed(self.monitor, self.profile, self.stop, self.emit),
            target_s=self.profile.batch_target.total_seconds(),
        )
        drive = replace(self._drive(ctx), on_stamp=runner.on_stamp, emit=runner.hear)
        return replace(runner, ctx=replace(ctx, drive=drive, emit=runner.hear))

    def _facts(self, plan: Plan) -> RunFacts:
        return undertaking.facts_of("migrate", self.settings, self.profile, plan)

    def _warn(self, message: str) -> None:
        self.emit(Noted(severity="warning", message=message))

    def _next(self, verb: str, why: str) -> None:
        self.draft.next.append(undertaking.next_step(verb, self.request.argv_hint, why))
