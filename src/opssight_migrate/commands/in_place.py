"""A data rollback where no database may be made: all rows replaced in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from opssight_migrate.backups import creation
from opssight_migrate.backups.sources import Source
from opssight_migrate.commands import rehearsal, safety, undertaking, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.commands.in_place_plan import REFILL
from opssight_migrate.commands.replacing import COMMAND
from opssight_migrate.commands.rollback import RollbackRequest, SchemaRollback
from opssight_migrate.engine.retreat import Retreat, retreat
from opssight_migrate.model.errors import (
    MigrateError,
    PrivilegeError,
    StatementError,
    StepFailedError,
    WrittenMeanwhileError,
)
from opssight_migrate.model.events import (
    Emit,
    Noted,
    RunFinished,
    RunStarted,
    StatementStarted,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import Blocker, Plan
from opssight_migrate.postgres import (
    attributes,
    connect,
    digest,
    embedded,
    journal,
    large_objects,
    marker,
    mirrored,
    refill,
    standstill,
    unfinished,
)
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.standstill import Moment
from opssight_migrate.settings import Profile, Settings


@contextmanager
def server() -> Iterator[Session]:
    """Lend a session on the embedded server, where a backup can be restored and looked at.

    Raises: EmbeddedServerError.
    """
    cluster = embedded.restoring_cluster()
    cluster.start()
    try:
        session = connect.opened(
            cluster.conninfo("postgres"), application_name="opssight-migrate/elsewhere"
        )
        try:
            yield session
        finally:
            session.close()
    finally:
        cluster.stop()


def restore(source: Source, live: Session, elsewhere: Session, database: str) -> None:
    """Restore into an empty database there, owners and grants included: all roles are, by name.

    Raises: BackupError and such.
    """
    mirrored.mirror(live, elsewhere)
    if not source.is_script:
        source.restore(elsewhere, database)
        return
    with mirrored.without_rights(live, elsewhere, database) as session:
        source.restore(session, database)


def with_backup(plan: Plan, profile: Profile) -> Plan:
    """Say in a plan that the rows of now are kept by a proven backup, or that they would not be."""
    if safety.is_wanted(profile):
        where = safety.shelf_of(profile).directory
        said = f"a backup is made first, proven on the embedded server, in {where}"
        return replace(plan, announcements=(*plan.announcements, said))
    blocker = Blocker(
        message="the rows of now would be kept nowhere: this profile makes no backup",
        where=f"environment {profile.name}",
        hint='write backup_recipients = ["age1..."] and backup = "auto", or give the role CREATEDB',
    )
    return replace(plan, blockers=(*plan.blockers, blocker))


@dataclass(slots=True)
class InPlace:
    """Takes the live database back by schema, then by rows; each of them whole, or not at all."""

    settings: Settings
    profile: Profile
    plan: Plan
    source: Source
    live: Session
    elsewhere: Session
    opened: Callable[[str], Session]
    draft: Draft
    emit: Emit
    argv_hint: str
    has_gone_back: bool = field(default=False, init=False)

    def go(self, restored: Session, back: Retreat, onward: str | None, planned: Moment) -> None:
        """Make the proven safety backup, go back by schema, and replace the rows.

        ``onward`` is a revision to go on to afterwards, ``planned`` the moment whose losses the
        plan counts. Raises: WrittenMeanwhileError, BackupError and such, with nothing changed;
        PartialError once the schema went back: the same command goes on from there.
        """
        with self.live.reading():
            self._refuse_written(planned)
        order = replace(safety.order(self.profile), proves=True, elsewhere=self.elsewhere)
        made = creation.create(self.live, order, self.emit)
        self.draft.artifacts += safety.artifacts_of(made)
        if not back.is_empty:
            self._schema(back)
            self.has_gone_back = True
        with self.live.writing():
            journal.install(self.live)
            marker.mark(self.live, self.profile.name, connect.facts(self.live), adopt=True)
        facts = undertaking.facts_of(COMMAND, self.settings, self.profile, self.plan)
        book = Journal.begin(self.live, facts)
        try:
            self._replace(book, restored, planned)
        except MigrateError as error:
            if not self.live.connection.closed:
                self.live.execute("ROLLBACK")
            ended = undertaking.as_resumable(error)
            undertaking.ended_badly(book, ended, lambda how: self._trace(book, how), self.emit)
            raise ended from error
        if onward is not None:
            ctx = wiring.looking(self.live, self.profile, self.emit)
            self._schema(retreat(ctx, onward))
        undertaking.look_again(self.live, self.draft)
        undertaking.validate(self.live, self.draft, self.plan.revision_to)
        rehearsal.after_rollback(self.profile, self.live, self.draft, self.emit)
        self.draft.next.append(
            undertaking.next_step(
                "verify", self.argv_hint, "see that everything is as it should be"
            )
        )

    def _schema(self, back: Retreat) -> None:
        request = RollbackRequest(to_revision=back.plan.revision_to, argv_hint=self.argv_hint)
        known = (self.settings, self.profile, request, self.opened, self.live)
        work = SchemaRollback(*known, self.draft, self.emit)
        with work.stop.listening():
            work.carry_out(back)

    def _replace(self, book: Journal, restored: Session, planned: Moment) -> None:
        steps = self.plan.steps
        number = next(i for i, one in enumerate(steps, 1) if one.step_id == REFILL)
        title = steps[number - 1].title
        self.emit(RunStarted(run_id=book.run_id, resumes=book.resumes, steps_total=len(steps)))
        self.emit(StepStarted(step_id=REFILL, title=title, number=number, steps_total=len(steps)))
        started = time.monotonic()
        rows = 0

        def told(table: str, number: int) -> None:
            nonlocal rows
            rows += number
            self.emit(StatementStarted(step_id=REFILL, what=f"{table}: {number:,} rows"))

        with restored.reading():
            columns = digest.columns_by_table(restored)
            tables = [*columns, refill.STAMP]
            refill.lock(self.live, tables, self.profile.lock_budget.total_seconds())
            book.guard()
            self._refuse_written(planned)
            refill.refill(self.live, restored, tables, told)
            large_objects.replace(self.live, restored)
            self._make_alike(restored)
            self._compare(restored, columns)
        self._trace(book, "data rolled back")
        book.end("ok")
        unfinished.supersede(self.live, book.run_id)
        self.live.execute("COMMIT")
        elapsed_s = time.monotonic() - started
        self.emit(StepFinished(step_id=REFILL, title=title, rows=rows, elapsed_s=elapsed_s))
        self.emit(RunFinished(run_id=book.run_id, status="ok", elapsed_s=elapsed_s))

    def _refuse_written(self, planned: Moment) -> None:
        """What was written since is in no plan that anybody agreed to, and maybe in no backup."""
        found = standstill.written_since(self.live, planned)
        # Going back by schema leaves rows of ours in the audit log.
        ours = {"audit_logs"} if self.has_gone_back else set[str]()
        if written := [one for one in found if one.table not in ours]:
            told = "; ".join(one.sentence for one in written)
            raise WrittenMeanwhileError(
                f"somebody wrote after the plan was made, and it does not count that: {told}",
                where=written[0].table,
                hint="stop what writes, and give the same command again",
            )

    def _make_alike(self, restored: Session) -> None:
        """Give owners, grants and comments back; what cannot be is said, and keeps nothing up."""
        for kind in attributes.KINDS:
            for change in attributes.changes(self.live, restored, kind):
                if not change.is_ours:
                    continue  # the plan says so
                try:
                    attributes.carry_out(self.live, change)
                except (PrivilegeError, StatementError) as error:
                    message = f"left as it is now: {change.statement} ({error.message})"
                    self.emit(Noted(severity="warning", message=message))

    def _compare(self, restored: Session, columns: dict[str, tuple[str, ...]]) -> None:
        """Compare what stands now with what came out of the backup, before anybody sees it."""
        for table, names in columns.items():
            ours = digest.digest_table(self.live, table, names)
            theirs = digest.digest_table(restored, table, names)
            if (ours.rows, ours.value) != (theirs.rows, theirs.value):
                raise StepFailedError(
                    f"{table} did not become what the backup has", where=table, hint="try again"
                )

    def _trace(self, book: Journal, how: str) -> None:
        book.audit(
            Audit(operation="IMPORT", severity="CRITICAL", table="alembic_version"),
            f"{how}: {self.source.path.name}",
            record=book.run_id,
            context={"sha256": self.source.sha256, "backup": self.source.sentence},
        )
