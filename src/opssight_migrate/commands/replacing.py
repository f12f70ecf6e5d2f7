"""What follows the yes to a data rollback: the safety backup, the journal, the swap, the look."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from opssight_migrate.backups import replacement
from opssight_migrate.backups.sources import Source
from opssight_migrate.commands import rehearsal, safety, undertaking, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.commands.restore_plan import SWAP
from opssight_migrate.engine.retreat import Retreat
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.engine.unwinder import Unwinder
from opssight_migrate.model.errors import MigrateError, WrittenMeanwhileError
from opssight_migrate.model.events import (
    Emit,
    Noted,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.revisions import is_published
from opssight_migrate.postgres import (
    connect,
    exclusive,
    journal,
    marker,
    properties,
    siblings,
    standstill,
    swap,
    unfinished,
)
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.standstill import Moment, Written
from opssight_migrate.settings import Profile, Settings

_APPLICATION = "opssight-migrate/replacement"
COMMAND = "rollback-data"


@dataclass(slots=True)
class Replacing:
    """Puts a restored database in the place of the live one; until the swap, that is untouched."""

    settings: Settings
    profile: Profile
    plan: Plan
    back: Retreat | None
    source: Source
    live: Session
    draft: Draft
    emit: Emit
    argv_hint: str
    run_id: str = field(default="", init=False)

    def go(self, new: str, moment: Moment, *, terminates: bool) -> None:
        """Make the safety backup, complete the restored database, and swap.

        Raises: BackupError, WrittenMeanwhileError, BusyError and such; then nothing was changed.
        """
        name = self.plan.database.name
        made = safety.backup(self.profile, self.live, self.emit, lambda: None)
        if made is not None:
            self.draft.artifacts += safety.artifacts_of(made)
        kept = properties.read_properties(self.live)
        replacement.carry_journal(self.live, new)
        self._complete(new)
        started = time.monotonic()
        maintenance = exclusive.handed_over(self.live)
        try:
            properties.apply(maintenance, new, kept)
            written = self._stopped(maintenance, moment, terminates=terminates)
            retired = swap.retired_name(name, self.run_id)
            self._begun()
            try:
                swap.swap(maintenance, self.live, new=new, retired=retired, terminates=terminates)
            except MigrateError:
                if not self._is_swapped(retired):
                    raise
        finally:
            maintenance.close()
        self._ended(retired, written, time.monotonic() - started)
        self._look_again()

    @property
    def target(self) -> str | None:
        """The revision that the database is to be at; None for an empty one."""
        return self.plan.revision_to if is_published(self.plan.revision_to) else None

    def _complete(self, new: str) -> None:
        """Write the run into the journal that goes along, and undo revisions where asked for."""
        restored = siblings.sibling(self.live, new, _APPLICATION)
        try:
            with restored.writing():
                journal.install(restored)
                marker.mark(restored, self.profile.name, connect.facts(restored), adopt=True)
                replacement.owe_audit_rows(restored)
            facts = undertaking.facts_of(COMMAND, self.settings, self.profile, self.plan)
            book = Journal.begin(restored, facts)
            self.run_id = book.run_id
            if self.back is not None:
                self._undo(restored, new, book, self.back)
            with restored.writing():
                book.guard()
                book.audit(
                    Audit(operation="IMPORT", severity="CRITICAL", table="alembic_version"),
                    f"data rolled back to {self.source.path.name}",
                    record=book.run_id,
                    context={"sha256": self.source.sha256, "backup": self.source.sentence},
                )
                book.end("ok")
                unfinished.supersede(restored, book.run_id)
        finally:
            restored.close()

    def _undo(self, restored: Session, new: str, book: Journal, back: Retreat) -> None:
        """Take the restored database to the earlier revision, before anybody works on it."""
        observer = Observer(lambda: siblings.sibling(restored, new, "opssight-migrate/observer"))
        stop = StopSignal(restored, self.emit)
        ctx = wiring.looking(restored, self.profile, self.emit)
        unwinder = Unwinder(ctx=ctx, journal=book)
        drive = replace(
            undertaking.driven(ctx, stop, observer), on_stamp=unwinder.on_stamp, emit=unwinder.hear
        )
        unwinder = replace(unwinder, ctx=replace(ctx, drive=drive, emit=unwinder.hear))
        try:
            with stop.listening():
                self.draft.proof = unwinder.run(back)
        finally:
            undertaking.close(observer, self.emit)

    def _stopped(
        self, maintenance: Session, moment: Moment, *, terminates: bool
    ) -> tuple[Written, ...]:
        """Stop whoever writes, and return what was written since the question."""
        if terminates:
            swap.end_clients(maintenance, self.plan.database.name, self.live)
        standstill.stop_writers(self.live)
        written = standstill.written_since(self.live, moment)
        if written and not terminates:
            tables = "; ".join(one.sentence for one in written)
            raise WrittenMeanwhileError(
                f"somebody wrote while we were at it, and nobody agreed to that: {tables}",
                where=written[0].table,
                hint="stop what writes and give the same command again, or allow it: --terminate",
            )
        return written

    def _begun(self) -> None:
        steps = self.plan.steps
        self.emit(RunStarted(run_id=self.run_id, resumes=None, steps_total=len(steps)))
        self.emit(
            StepStarted(
                step_id=SWAP, title=steps[-1].title, number=len(steps), steps_total=len(steps)
            )
        )

    def _ended(self, retired: str, written: tuple[Written, ...], elapsed_s: float) -> None:
        title = self.plan.steps[-1].title
        self.emit(StepFinished(step_id=SWAP, title=title, rows=None, elapsed_s=elapsed_s))
        self.emit(RunFinished(run_id=self.run_id, status="ok", elapsed_s=elapsed_s))
        self.draft.retired = (retired,)
        for one in written:
            message = (
                f"{one.sentence} after the plan was made; these are in database {retired} only:"
                f" {one.query}"
            )
            self.emit(Noted(severity="warning", message=message))

    def _is_swapped(self, retired: str) -> bool:
        """Look, after an error at the commit, whether both names were given all the same."""
        with wiring.connected(self.profile, "rollback", self.emit) as again:
            return swap.exists(again, retired)

    def _look_again(self) -> None:
        """Say where the database is now, and what the old release can do there."""
        with wiring.connected(self.profile, "rollback", self.emit) as now:
            undertaking.look_again(now, self.draft)
            undertaking.validate(now, self.draft, self.target)
            rehearsal.after_rollback(self.profile, now, self.draft, self.emit)
        self._next("verify", "see that everything is as it should be")
        why = f"once nobody needs {', '.join(self.draft.retired)} any more"
        self._next("cleanup --retired", why)

    def _next(self, verb: str, why: str) -> None:
        self.draft.next.append(undertaking.next_step(verb, self.argv_hint, why))
