"""What a failed run does with itself: undo everything, where running again cannot cure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opssight_migrate.engine import preflight, proof
from opssight_migrate.engine.retreat import Retreat, retreat
from opssight_migrate.engine.unwinder import Unwinder
from opssight_migrate.model.errors import (
    MigrateError,
    PartialError,
    RolledBackError,
    RowsDifferError,
    StatementError,
    StepFailedError,
)
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.postgres import past_runs, snapshots, unfinished
from opssight_migrate.postgres.journal import Audit, Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import StepContext

# A value that does not fit, and a constraint that says no: the same rows fail again.
_BAD_DATA = ("22", "23")


def is_incurable(error: MigrateError) -> bool:
    """Tell whether the same command would fail again: a failed verification, or bad data.

    Where rows differ from before, the database is left as it is, to be compared with a backup.
    """
    if isinstance(error, RowsDifferError):
        return False
    is_bad_data = isinstance(error, StatementError) and (error.sqlstate or "")[:2] in _BAD_DATA
    return is_bad_data or isinstance(error, StepFailedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwinding:
    """Undoes one failed run of ``migrate`` in a run of its own, under the same lock.

    ``unwinder`` makes what carries it out, for a journal; ``facts`` are what that writes of
    itself, given a plan.
    """

    session: Session
    ctx: StepContext
    failed: Journal
    unwinder: Callable[[Journal], Unwinder]
    facts: Callable[[Retreat], RunFacts]
    emit: Emit

    def go(self, why: MigrateError) -> RolledBackError:
        """Undo everything that the run did, and return the error that says so.

        Raises: PartialError, if it cannot be undone, or not wholly.
        """
        with self.session.reading():
            target, obstacles = past_runs.before(self.session, self.failed.run_id)
            worked_on = past_runs.worked_on(self.session, self.failed.run_id)
        back = retreat(self.ctx, target, obstacles, worked_on)
        if refusal := preflight.refusal(back.plan.blockers):
            raise PartialError(
                f"{why.message}; the run cannot be undone by itself: {refusal.message}",
                hint=refusal.hint,
                where=refusal.where,
            )
        self.emit(
            Noted(
                severity="warning",
                message=f"{why.message}: everything this run did is undone (on_failure)",
            )
        )
        book = Journal.begin(self.session, self.facts(back))
        try:
            self.unwinder(book).run(back)
            self._as_before()
        except MigrateError as second:
            raise self._half_undone(why, second, book) from why
        with self.session.writing():
            book.guard()
            book.audit(
                Audit(operation="UPDATE", severity="HIGH", table="alembic_version"),
                f"run {self.failed.run_id} undone: {why.code}",
                record=book.run_id,
                context={"from": back.plan.revision_from, "to": target},
            )
            book.end("ok")
            unfinished.supersede(self.session, book.run_id)
        return RolledBackError(why.message, hint=why.hint, where=why.where, sqlstate=why.sqlstate)

    def _as_before(self) -> None:
        """Compare with what the failed run had digested before its first change."""
        before = snapshots.first_of(self.session, self.failed.lineage)
        verdict = proof.compare(self.session, before, self.emit)
        if verdict.lost:
            raise RowsDifferError(
                f"rows differ from before the run: {verdict.proof.sentence}",
                where=verdict.lost[0],
                hint="keep this database as it is and compare it with a backup",
            )

    def _half_undone(self, why: MigrateError, second: MigrateError, book: Journal) -> MigrateError:
        if not self.session.connection.closed:
            book.end("failed", f"{second.code}: {second.message}")
        return PartialError(
            f"{why.message}; undoing the run stopped on the way: {second.message}",
            hint=f"opssight-migrate rollback --run {self.failed.run_id} goes on from there",
            where=second.where,
            sqlstate=second.sqlstate,
        )
