"""``rollback --type data | full``: restored beside the database, compared, and swapped in."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from opssight_migrate.backups import comparison, scratch, sources, unreturned
from opssight_migrate.backups.sources import Source
from opssight_migrate.commands import (
    identities,
    in_place,
    in_place_plan,
    operators,
    restore_plan,
    safety,
    undertaking,
    wiring,
)
from opssight_migrate.commands.draft import Draft
from opssight_migrate.commands.identities import AskPassphrase
from opssight_migrate.commands.replacing import Replacing
from opssight_migrate.engine import preflight
from opssight_migrate.engine.retreat import Retreat, retreat
from opssight_migrate.model.errors import ForeignBackupError, MigrateError
from opssight_migrate.model.events import Emit, Event, Noted, PlanMade
from opssight_migrate.model.plan import Blocker, Loss, Plan
from opssight_migrate.model.report import CheckResult, Report
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import (
    catalog,
    connect,
    exclusive,
    marker,
    properties,
    reader,
    siblings,
    standing,
    standstill,
    swap,
    timescale_restore,
)
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.standstill import Moment
from opssight_migrate.settings import Profile, Settings

Confirm = Callable[[Plan, bool], None]
_APPLICATION = "opssight-migrate/restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """Which backup, and what to do with it.

    ``to_revision`` takes the restored database on to an earlier revision (``--type full``).
    ``into`` restores under that name and leaves the live database alone; ``terminates`` allows
    clients to be ended at the swap.
    """

    backup_file: Path
    identity: Path | None = None
    to_revision: str | None = None
    into: str | None = None
    terminates: bool = False
    dry_run: bool = False
    argv_hint: str = ""

    @property
    def again(self) -> str:
        """The verb with all options, so that nothing else is done than what was looked at."""
        words = ["rollback", "--type", "data" if self.to_revision is None else "full"]
        for option, value in (
            ("--backup-file", self.backup_file),
            ("--to-revision", self.to_revision),
            ("--identity", self.identity),
            ("--into", self.into),
        ):
            words += [] if value is None else [option, str(value)]
        return shlex.join([*words, *(["--terminate"] if self.terminates else [])])


def rollback_data(
    settings: Settings,
    profile: Profile,
    request: RestoreRequest,
    *,
    confirm: Confirm,
    emit: Emit,
    ask: AskPassphrase | None = None,
) -> Report:
    """Take the profile's database back to a backup; the old one stays under another name.

    Everything is restored and compared beside the live database first, in a dry run too, so that
    the plan is exact. ``confirm`` is asked with that plan; it raises to decline. ``ask`` asks for a
    passphrase; None means that nobody can be asked.
    """
    draft = Draft("rollback", profile, dry_run=request.dry_run)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.reachable(profile, tell) as opened:
        live = opened("opssight-migrate/rollback")
        try:
            _Restore(settings, profile, request, opened, live, draft, tell, ask).go(confirm)
        finally:
            live.close()
    return draft.report()


@dataclass(slots=True)
class _Restore:
    settings: Settings
    profile: Profile
    request: RestoreRequest
    opened: Callable[[str], Session]
    live: Session
    draft: Draft
    emit: Emit
    ask: AskPassphrase | None
    is_copy: bool = field(default=False, init=False)

    def go(self, confirm: Confirm) -> None:
        """Look, restore beside, compare, ask, and swap; or replace the rows where they stand."""
        if not self.request.dry_run:
            operators.refuse_stranger(self.live, self.profile, "rollback")
            exclusive.take(self.live)
            exclusive.end_orphans(self.live)
        source, plan = self._looked()
        like = properties.read_properties(self.live)
        if self.is_in_place:
            with in_place.server() as other, scratch.scratch(other, scratch.PLAIN) as new:
                self._in_place(confirm, plan, source, other, new)
            return
        with scratch.scratch(self.live, like, owner=like.owner) as new:
            with self.live.trying():  # what may not be carried over is said before all the work
                properties.apply(self.live, new, like)
            restored = self._restored(source, self.live, new)
            try:
                plan, back, moment = self._planned(plan, source, self.live, restored)
            finally:
                restored.close()
            if not self._is_agreed(plan, confirm):
                return
            if self.request.into is not None:
                swap.rename(self.live, new, self.request.into)
                self._next("status", f"{plan.database.name} itself is as it was")
                return
            work = Replacing(
                settings=self.settings,
                profile=self.profile,
                plan=plan,
                back=back,
                source=source,
                live=self.live,
                draft=self.draft,
                emit=self.emit,
                argv_hint=self.request.argv_hint,
            )
            work.go(new, moment, terminates=self.request.terminates)
            self._resume()

    @property
    def is_in_place(self) -> bool:
        """Whether our role may make no database, and so rows are replaced where they stand."""
        return self.request.into is None and not scratch.is_possible(self.live)

    def _in_place(
        self, confirm: Confirm, plan: Plan, source: Source, other: Session, new: str
    ) -> None:
        restored = self._restored(source, other, new)
        try:
            plan, onward, planned = self._planned(plan, source, other, restored)
            ctx = wiring.looking(self.live, self.profile, self.emit)
            back = retreat(ctx, catalog.current_revision(restored) or "")
            plan = in_place_plan.completed(plan, back, onward, self.live, restored)
            plan = in_place.with_backup(plan, self.profile)
            if not self._is_agreed(plan, confirm):
                return
            work = in_place.InPlace(
                settings=self.settings,
                profile=self.profile,
                plan=plan,
                source=source,
                live=self.live,
                elsewhere=other,
                opened=self.opened,
                draft=self.draft,
                emit=self.emit,
                argv_hint=self.request.argv_hint,
            )
            work.go(restored, back, self.request.to_revision, planned)
        finally:
            restored.close()

    def _restored(self, source: Source, host: Session, new: str) -> Session:
        """Restore into a scratch database, and return a session on it."""
        where = "beside the live database" if host is self.live else "on the embedded server"
        self._note(f"restoring {source.path.name} {where}, as {new}")
        restored = siblings.sibling(host, new, _APPLICATION)
        try:
            with self._minding_timescale(restored):
                if host is self.live:
                    source.restore(host, new)
                else:
                    in_place.restore(source, self.live, host, new)
        except BaseException:
            restored.close()
            raise
        return restored

    def _minding_timescale(self, restored: Session) -> AbstractContextManager[None]:
        """Where the live database has TimescaleDB, so has its backup, in the same version."""
        version = timescale_restore.version_in(self.live)
        if version is None:
            return nullcontext()
        return timescale_restore.restoring(restored, version)

    def _resume(self) -> None:
        """Have TimescaleDB's jobs run in the database that took the place."""
        try:
            with closing(self.opened("opssight-migrate/rollback")) as session:
                timescale_restore.resume(session)
        except MigrateError as error:
            message = f"TimescaleDB's jobs do not run: {error.message}"
            hint = "as a superuser: SELECT _timescaledb_functions.start_background_workers()"
            self.emit(Noted(severity="warning", message=message, hint=hint))

    def _is_agreed(self, plan: Plan, confirm: Confirm) -> bool:
        """Show the plan and ask; false where it was a dry run."""
        self.emit(PlanMade(plan=plan))
        self._refuse(plan)
        if self.request.dry_run:
            self.draft.status = "pending"
            self._next(self.request.again, "carry out this plan")
            return False
        confirm(plan, self.is_copy)
        return True

    def _looked(self) -> tuple[Source, Plan]:
        """Look at everything that can be looked at before a byte is restored."""
        with self.live.reading():
            facts = connect.facts(self.live)
            now = catalog.current_revision(self.live)
            known = marker.read(self.live)
            self.is_copy = known is not None and marker.is_copy(known, self.profile.name, facts)
            plan = restore_plan.without_steps(self.profile, facts, now)
            self.draft.database, self.draft.revision_to = facts, now
        source = sources.source_of(
            self.request.backup_file,
            identities.given(self.profile, self.request.identity, self.ask),
        )
        source.check(self.live, facts, self.profile)
        blockers: list[Blocker] = []
        if self.is_in_place:
            blockers += in_place_plan.beyond_our_server(self.live, facts)
        elif self.request.into is None:
            # A dry run may be looked at while everybody works.
            may_stay = self.request.terminates or self.request.dry_run
            blockers += restore_plan.obstacles(self.live, facts, terminates=may_stay)
            if (connected := restore_plan.clients(self.live, facts)) and may_stay:
                how = "are ended at the swap" if self.request.terminates else "stop them first"
                plan = replace(plan, announcements=(f"{connected}: {how}",))
        elif swap.exists(self.live, self.request.into):
            blockers.append(
                Blocker(
                    message=f"there is a database {self.request.into} already",
                    hint="give another name with --into",
                )
            )
        if blockers:
            plan = replace(plan, blockers=tuple(blockers))
            self.emit(PlanMade(plan=plan))
            self._refuse(plan)
        return source, plan

    def _planned(
        self, plan: Plan, source: Source, host: Session, restored: Session
    ) -> tuple[Plan, Retreat | None, Moment]:
        """Return the whole plan, the way on from the backup's revision, and this very moment."""
        with restored.reading():
            then = catalog.current_revision(restored)
            known = marker.read(restored)
            catalogue = reader.read_catalogue(restored)
            blockers = list(preflight.shape(then, catalogue))
        if known is not None and known.environment != self.profile.name:
            raise ForeignBackupError(
                f"this is a backup of environment {known.environment!r}, not of"
                f" {self.profile.name!r}",
                where=str(source.path),
                hint="opssight-migrate backup list",
            )
        if blockers:
            self.emit(PlanMade(plan=replace(plan, blockers=tuple(blockers))))
            self._refuse(replace(plan, blockers=tuple(blockers)))
        compared = self._compared(source, host, restored)
        drifted = _drifted(restored, then, catalogue)
        losses, moment = self._ledger(restored)
        back = self._way_on(restored) if self.request.to_revision else None
        into = self.request.into
        end = back.plan.revision_to if back else then
        rows = sum(moment.rows.values())
        step = restore_plan.last_step(source, plan.database, rows, into)
        announced = restore_plan.announced(source, plan.database, compared, then, into)
        if host is not self.live:
            step = in_place_plan.refilling(source, rows)
            announced = in_place_plan.announced(source, compared, step, self.live, restored)
        plan = replace(
            plan,
            revision_to=(end if into is None else plan.revision_from) or "an empty database",
            steps=(*(back.plan.steps if back else ()), step),
            announcements=(
                *plan.announcements,
                *announced,
                *drifted,
            ),
            losses=(*losses, *(back.plan.losses if back else ())),
            blockers=back.plan.blockers if back else (),
        )
        if into is None and host is self.live:
            plan = safety.planned(plan, self.profile, self.live)
        return plan, back, moment

    def _compared(self, source: Source, host: Session, restored: Session) -> str:
        """Compare what came out with what went in, where somebody wrote that down."""
        name = restored.connection.info.dbname
        is_known = source.tables is not None
        if source.tables is not None:
            comparison.refuse_differences(host, name, source.tables)
            rows = sum(one.rows for one in source.tables.values())
            said = f"{len(source.tables)} tables, {rows:,} rows: as the manifest says"
        else:
            said = "it has no manifest, so that nothing says whether it is whole"
        self.draft.checks.append(
            CheckResult(
                id="digests",
                title="What was restored is what was dumped",
                category="rollback",
                status="passed" if is_known else "skipped",
                findings=0,
                reason=None if is_known else "no manifest",
            )
        )
        return f"restored as {name} and compared: {said}"

    def _ledger(self, restored: Session) -> tuple[tuple[Loss, ...], Moment]:
        with self.live.reading(), restored.reading():
            moment = standstill.moment(self.live)
            in_place = self.is_in_place
            return unreturned.read(self.live, restored, self.emit, in_place=in_place), moment

    def _way_on(self, restored: Session) -> Retreat:
        target = self.request.to_revision or ""
        undertaking.refuse_unpublished(target)
        return retreat(wiring.looking(restored, self.profile, self.emit), target)

    def _refuse(self, plan: Plan) -> None:
        for blocker in plan.blockers[1:]:
            self.draft.block(blocker)
        if refusal := preflight.refusal(plan.blockers):
            raise refusal

    def _note(self, message: str) -> None:
        self.emit(Noted(severity="note", message=message))

    def _next(self, verb: str, why: str) -> None:
        self.draft.next.append(undertaking.next_step(verb, self.request.argv_hint, why))


def _drifted(restored: Session, then: str | None, catalogue: Catalogue) -> list[str]:
    """Say where the backup's catalogue is not the published one: it comes back as it was."""
    if then is None:
        return []
    with restored.reading():
        found = standing.refused(restored, then, catalogue)
    return [f"in the backup, {one.sentence}" for one in found]
