"""The unwinder: it undoes steps, newest first, each with its row in the journal."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from opssight_migrate.engine import proof
from opssight_migrate.engine.retreat import NOTHING, Retreat
from opssight_migrate.model.errors import RowsDifferError, StepFailedError
from opssight_migrate.model.events import (
    Event,
    LockTaken,
    RevisionUndone,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import LossKind
from opssight_migrate.model.report import Proof
from opssight_migrate.opssight.goings import going_with
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import archive, digest, reader, standing
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.snapshots import Snapshot
from opssight_migrate.steps.base import BaseStep, StepContext

# The audit log gets a row of ours for each revision that is undone.
_WRITTEN_BY_US = "audit_logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwinder:
    """Undoes steps for one run."""

    ctx: StepContext
    journal: Journal
    receipts: list[LockTaken] = field(default_factory=list[LockTaken])

    def hear(self, event: Event) -> None:
        """Keep lock receipts until the step's end writes them, and pass everything on."""
        if isinstance(event, LockTaken):
            self.receipts.append(event)
        self.ctx.emit(event)

    @property
    def archive(self) -> str:
        """The schema that takes what moves aside: one for a rollback, however often it is resumed.

        An archive that came home meanwhile is none to go on with.
        """
        for run_id in self.journal.lineage[:-1]:
            if archive.is_there(self.ctx.session, archive.name_for(run_id)):
                return archive.name_for(run_id)
        return archive.name_for(self.journal.run_id)

    def run(self, back: Retreat) -> Proof:
        """Undo every step, then prove the outcome.

        Raises: whatever stops a step, after the journal knows of it; StepFailedError when the
        whole did not come out as it should.
        """
        before = proof.take(self.ctx.session, self.journal, self.ctx.emit, self._staying(back))
        ctx = replace(self.ctx, drive=replace(self.ctx.drive, archive=self.archive))
        titles = {step.step_id: step.title for step in back.plan.steps}
        for number, step in enumerate(back.steps, start=1):
            self.ctx.drive.pause_point()
            begun = self.journal.step_started(step.id, step.kind)
            title = titles.get(step.id, step.title)
            self.ctx.emit(
                StepStarted(
                    step_id=step.id,
                    title=title,
                    number=number,
                    steps_total=len(back.steps),
                    resumed=begun,
                )
            )
            started = time.monotonic()
            self._undo(step, ctx)
            self.ctx.emit(
                StepFinished(
                    step_id=step.id,
                    title=title,
                    rows=None,
                    elapsed_s=time.monotonic() - started,
                )
            )
        self.ctx.drive.pause_point()
        return self._proven(back, before)

    def _undo(self, step: BaseStep, ctx: StepContext) -> None:
        ctx.session.named(f"opssight-migrate/{self.journal.run_id}/{step.id}")
        # Of a revision the stamp's own transaction writes the end: see on_stamp().
        step.undo(replace(ctx, drive=replace(ctx.drive, step_id=step.id)))
        if step.kind == "data":
            with ctx.session.writing():
                self.journal.guard()
                self._write_receipts()
                self.journal.step_ended(step.id, "done", None)
                self.journal.audit(step.audit, f"undone: {step.title}", record=step.id, context={})

    def on_stamp(self, revision: str) -> None:
        """Write a revision's journal row in the transaction that takes its stamp away."""
        self.journal.guard()
        self._write_receipts()
        self.journal.step_ended(revision, "done", None)
        self.journal.audit(
            Audit(operation="UPDATE", severity="HIGH", table="alembic_version"),
            f"revision {revision} undone",
            record=revision,
            context={"step": revision},
        )
        self.ctx.emit(RevisionUndone(revision=revision))

    def _write_receipts(self) -> None:
        while self.receipts:
            self.journal.receive(self.receipts.pop(0))

    def _staying(self, back: Retreat) -> dict[str, tuple[str, ...]]:
        """Return the columns that are there before and after, of all tables that stay."""
        goings = [going_with(step.id) for step in back.steps]
        tables = {table for going in goings for table in going.tables} | {_WRITTEN_BY_US}
        columns = {column for going in goings for column in going.columns}
        with self.ctx.session.reading():
            found = digest.columns_by_table(self.ctx.session)
        return {
            table: tuple(name for name in names if (table, name) not in columns)
            for table, names in found.items()
            if table not in tables
        }

    def _proven(self, back: Retreat, before: tuple[Snapshot, ...]) -> Proof:
        """Compare catalogue and rows with what they should be.

        Raises: StepFailedError naming what differs.
        """
        session, target = self.ctx.session, back.plan.revision_to
        session.named(f"opssight-migrate/{self.journal.run_id}/proof")
        with session.reading():
            actual = reader.read_catalogue(session)
            if target == NOTHING:
                wrong = [f"table {name} is left" for name in actual["tables"]]
            else:
                drifted = standing.altered(session, target, actual)
                wrong = [one.sentence for one in (*drifted, *standing.left_over(target, actual))]
        wrong += _missed(back, actual)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StepFailedError(
                f"the catalogue is not that of {target}: {wrong[0]}{more}",
                hint="opssight-migrate status",
            )
        verdict = proof.compare(session, before, self.ctx.emit)
        if verdict.lost:
            raise RowsDifferError(
                f"rows differ from before: {verdict.proof.sentence}",
                where=verdict.lost[0],
                hint="keep this database as it is and compare it with a backup",
            )
        shims = len(standing.shims_standing(actual))
        catalogue = f"catalogue equal to {target}" + (f", beside {shims} shims" if shims else "")
        sentence = f"{verdict.proof.sentence}; {catalogue}"
        return verdict.proof.model_copy(update={"catalogue": catalogue, "sentence": sentence})


def _missed(back: Retreat, actual: Catalogue) -> list[str]:
    """Name what others had added and is gone, but for what went as the ledger said."""
    target = back.plan.revision_to
    if target == NOTHING:
        return []
    tables = {table for step in back.steps for table in going_with(step.id).tables}
    announced = {key for one in back.plan.losses if one.kind is LossKind.GOES for key in one.keys}
    now = set(standing.additional(target, actual))
    return [
        f"{one.thing} {one.where} was there before"
        for one in standing.additions(back.plan.revision_from, back.catalogue)
        if f"{one.thing} {one.where}" not in now
        and one.table not in tables
        and one.name not in announced
    ]
