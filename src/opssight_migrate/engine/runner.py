"""The runner: it carries out a plan, step by step, each with its row in the journal."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial

from opssight_migrate.engine import baseline, batches, equivalence, proof
from opssight_migrate.engine.equivalence import Equivalence
from opssight_migrate.engine.forecast import Correction
from opssight_migrate.engine.governor import Governor
from opssight_migrate.model.errors import RowsDifferError, StatementError, StepFailedError
from opssight_migrate.model.events import (
    ConversionBegun,
    Event,
    LockTaken,
    Noted,
    RevisionApplied,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import Estimate, Finding, PlannedStep, Severity
from opssight_migrate.model.report import Proof
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import catalog, reader, snapshots, standing
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.snapshots import Snapshot
from opssight_migrate.steps.base import BaseStep, BatchedStep, Step, StepContext

# Rows that appear behind a walk's cursor are found by the step's verification, or by a constraint
# that its finish adds; walking again is cheap, since the batches skip what is right already.
_WALKS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Carries out steps for one run. ``target_s`` is how long a batch should last."""

    ctx: StepContext
    journal: Journal
    governor: Governor
    target_s: float
    receipts: list[LockTaken] = field(default_factory=list[LockTaken])

    def hear(self, event: Event) -> None:
        """Keep lock receipts until the step's end writes them, and pass everything on.

        What is about to be converted is written at once: a run that dies in it is undone too.
        """
        if isinstance(event, LockTaken):
            self.receipts.append(event)
        if isinstance(event, ConversionBegun):
            self.journal.rewind(event.step_id, event.table)
        self.ctx.emit(event)

    def run(self, steps: tuple[BaseStep, ...], planned: tuple[PlannedStep, ...]) -> Proof:
        """Do every step, then prove the outcome.

        Raises: whatever stops a step, after the journal knows of it; StepFailedError when a step
        or the whole did not come out as it should.
        """
        before = proof.take(self.ctx.session, self.journal, self.ctx.emit)
        baseline.take(self.ctx.session, self.journal, self.ctx.emit, self.ctx.drive.pause_point)
        if before:
            count = partial(snapshots.counting_ours, self.ctx.session, before[0].run_id)
            self.ctx.session.accounting = count
        try:
            self._carry_out(steps, planned)
        finally:
            self.ctx.session.accounting = None
        return self._proven(before)

    def _carry_out(self, steps: tuple[BaseStep, ...], planned: tuple[PlannedStep, ...]) -> None:
        plans = {step.step_id: step for step in planned}
        for number, step in enumerate(steps, start=1):
            self.ctx.drive.pause_point()
            if isinstance(step, BatchedStep):
                # A revision waits at the door, which has a budget; the governor has none.
                self.governor.pace(step.id)
            plan = plans.get(step.id) or _unplanned(step)
            begun = self.journal.step_started(step.id, step.kind, plan.estimate.reference_s)
            self.ctx.emit(
                StepStarted(
                    step_id=step.id,
                    title=step.title,
                    number=number,
                    steps_total=len(steps),
                    resumed=begun,
                )
            )
            started = time.monotonic()
            rows = self._apply(step, plan)
            self.ctx.emit(
                StepFinished(
                    step_id=step.id,
                    title=step.title,
                    rows=rows,
                    elapsed_s=time.monotonic() - started,
                )
            )
        self.ctx.drive.pause_point()

    def _apply(self, step: BaseStep, plan: PlannedStep) -> int | None:
        self.ctx.session.named(f"opssight-migrate/{self.journal.run_id}/{step.id}")
        ctx = replace(self.ctx, drive=replace(self.ctx.drive, step_id=step.id))
        if isinstance(step, BatchedStep):
            correction = Correction(step.id, plan.forecast.p50_s, plan.estimate.rows, self.ctx.emit)
            return self._walk(step, ctx, correction)
        if not isinstance(step, Step):
            raise TypeError(f"{step.id} is neither a Step nor a BatchedStep")
        if step.kind == "schema":
            # The stamp's own transaction writes the step's end: see on_stamp().
            step.apply(ctx)
            self._verified(step, ctx)
            return None
        if step.atomic:
            with self.ctx.session.writing():
                self.journal.guard()
                rows = step.apply(ctx)
                self._done(step, rows)
            self._verified(step, ctx)
            return rows
        rows = step.apply(ctx)
        self._verified(step, ctx)
        with self.ctx.session.writing():
            self.journal.guard()
            self._done(step, rows)
        return rows

    def _walk(self, step: BatchedStep, ctx: StepContext, correction: Correction) -> int:
        step.prepare(ctx)
        findings: list[Finding] = []
        rows = 0
        for _ in range(_WALKS):
            ways = tuple(step.walks(ctx))
            rows = sum(
                batches.walk(
                    ctx,
                    self.journal,
                    step.id,
                    way,
                    governor=self.governor,
                    correction=correction,
                    target_s=self.target_s,
                )
                for way in ways
            )
            try:
                step.finish(ctx)
                rows, findings = self._closed(step, ctx, rows)
            except StatementError as error:
                findings = [_refused(step, error)]
            if not findings:
                return rows
            for way in ways:
                self.journal.rewind(step.id, way.table)
        self.journal.step_ended(step.id, "failed", rows)
        raise _failed(step, findings)

    def _closed(self, step: BatchedStep, ctx: StepContext, rows: int) -> tuple[int, list[Finding]]:
        """Catch up, verify and write the step's end in one snapshot; return its rows, and why not.

        Raises: DeadlockError, if somebody else wrote the same rows at this moment.
        """
        with ctx.session.writing(one_snapshot=True):
            self.journal.guard()
            rows += step.catch_up(ctx)
            findings = [f for f in step.verify(ctx) if f.severity is Severity.FAIL]
            if not findings:
                self._done(step, rows)
        return rows, findings

    def on_stamp(self, revision: str) -> None:
        """Write a revision's journal row in the transaction that stamps it."""
        self.journal.guard()
        self._write_receipts()
        self.journal.step_ended(revision, "done", None)
        self.journal.audit(
            Audit(operation="UPDATE", severity="MEDIUM", table="alembic_version"),
            f"revision {revision} applied",
            record=revision,
            context={"step": revision},
        )
        self.ctx.emit(RevisionApplied(revision=revision))

    def _write_receipts(self) -> None:
        while self.receipts:
            self.journal.receive(self.receipts.pop(0))

    def _done(self, step: BaseStep, rows: int | None) -> None:
        self._write_receipts()
        self.journal.step_ended(step.id, "done", rows)
        self.journal.audit(
            step.audit, step.title, record=step.id, context={"step": step.id, "rows": rows}
        )

    def _failures(self, step: BaseStep, ctx: StepContext) -> list[Finding]:
        with ctx.session.reading():
            return [f for f in step.verify(ctx) if f.severity is Severity.FAIL]

    def _verified(self, step: BaseStep, ctx: StepContext) -> None:
        if findings := self._failures(step, ctx):
            self.journal.step_ended(step.id, "failed", None)
            raise _failed(step, findings)

    def _proven(self, before: tuple[Snapshot, ...]) -> Proof:
        """Compare catalogue and rows with what they should be.

        Raises: StepFailedError naming what differs.
        """
        self.ctx.session.named(f"opssight-migrate/{self.journal.run_id}/proof")
        with self.ctx.session.reading():
            current = catalog.current_revision(self.ctx.session)
            actual = reader.read_catalogue(self.ctx.session)
            drifted = standing.altered(self.ctx.session, current, actual) if current else []
        if drifted:
            raise StepFailedError(
                f"the catalogue is not the golden one of {current}: {drifted[0].sentence}"
                + (f" (and {len(drifted) - 1} more)" if len(drifted) > 1 else ""),
                where=drifted[0].where,
                hint=drifted[0].mending or "opssight-migrate verify",
            )
        resumed = any(one.run_id != self.journal.run_id for one in before)
        verdict = proof.compare(self.ctx.session, before, self.ctx.emit, resumed=resumed)
        if verdict.lost:
            raise RowsDifferError(
                f"rows differ from before: {verdict.proof.sentence}",
                where=verdict.lost[0],
                hint="keep this database as it is and compare it with a backup",
            )
        return self._told(verdict.proof, current, actual)

    def _told(self, compared: Proof, current: str | None, actual: Catalogue) -> Proof:
        """Add to what the rows say: everybody's permissions, the tenants, the catalogue."""
        found = Equivalence()
        if current is not None:
            with self.ctx.session.reading():
                found = equivalence.read(self.ctx.session, current, actual)
        if not found.is_given:
            message = f"not all is as it was: {'; '.join(found.parts)}"
            hint = "opssight-migrate verify -t rbac -t tenancy names them"
            self.ctx.emit(Noted(severity="warning", message=message, hint=hint))
        shims = len(standing.shims_standing(actual))
        catalogue = f"catalogue equal to {current}" + (f", beside {shims} shims" if shims else "")
        users = found.users
        return compared.model_copy(
            update={
                "catalogue": catalogue,
                "users_identical": users and users.identical,
                "users_announced": users and users.announced,
                "users_differing": users and users.differing,
                "cross_tenant_references": found.across,
                "sentence": "; ".join((compared.sentence, *found.parts, catalogue)),
            }
        )


def _unplanned(step: BaseStep) -> PlannedStep:
    return PlannedStep(step_id=step.id, title=step.title, kind=step.kind, estimate=Estimate())


def _refused(step: BaseStep, error: StatementError) -> Finding:
    return Finding(
        check_id=step.id, severity=Severity.FAIL, message=error.message, where=error.where
    )


def _failed(step: BaseStep, findings: list[Finding]) -> StepFailedError:
    first = findings[0]
    rows = f" ({first.rows:,} rows)" if first.rows else ""
    return StepFailedError(
        f"{step.id}: {first.message}{rows}",
        where=first.where,
        hint=first.hint or "opssight-migrate verify",
    )
