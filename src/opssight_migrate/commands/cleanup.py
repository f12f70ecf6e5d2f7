"""``cleanup``: plan, ask, retire; the one verb that passes points of no return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from humanize import naturalsize

from opssight_migrate.backups import manifest
from opssight_migrate.commands import old_backups, old_logs, operators, safety, undertaking, wiring
from opssight_migrate.commands.draft import Draft, status_of
from opssight_migrate.engine import chunk_retirements, preflight, retirement
from opssight_migrate.engine.retirement import Limits, Retirement
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.model.errors import MigrateError, StepFailedError, UsageError
from opssight_migrate.model.events import (
    Emit,
    Event,
    LockTaken,
    Noted,
    PlanMade,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import Blocker, Plan
from opssight_migrate.model.report import Report, Status, utc_now
from opssight_migrate.postgres import (
    catalog,
    connect,
    exclusive,
    journal,
    leftovers,
    marker,
    reader,
    standing,
)
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.steps.base import StepContext

Confirm = Callable[[Plan, bool], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupRequest:
    """What the operator asked for; ``kinds`` are of ``retirement.KINDS``.

    ``keep_last`` and ``older_than`` None are as configured; the first never lowers the floor.
    ``window_s`` is for how long an adopted chunk may stop everybody; None: not at all.
    """

    kinds: tuple[str, ...]
    dry_run: bool = False
    keep_last: int | None = None
    older_than: timedelta | None = None
    release_is_gone: bool = False
    log_dir: Path | None = None
    window_s: float | None = None
    argv_hint: str = ""

    @property
    def options(self) -> str:
        """What to give again, so that nothing else is retired than what was looked at."""
        is_all = set(self.kinds) == set(retirement.ALL)
        options = ["--all"] if is_all else [f"--{kind}" for kind in self.kinds]
        if self.keep_last is not None:
            options.append(f"--keep-last {self.keep_last}")
        if self.older_than is not None:
            options.append(f"--older-than {self.older_than.total_seconds():g}s")
        if self.window_s is not None:
            options.append(f"--window {self.window_s:g}s")
        if self.release_is_gone:
            options.append(f"--confirm {retirement.CONFIRMATION}")
        return " ".join(options)


def cleanup(
    settings: Settings, profile: Profile, request: CleanupRequest, *, confirm: Confirm, emit: Emit
) -> Report:
    """Retire what nobody needs any more; every error of ours ends in the report."""
    draft = Draft("cleanup", profile, dry_run=request.dry_run)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.reachable(profile, tell) as opened:
        session = opened("opssight-migrate/cleanup")
        try:
            _Cleanup(settings, profile, request, opened, session, draft, tell).go(confirm)
        finally:
            session.close()
    return draft.report()


class _Cleanup:
    """One run of the verb, from the look to the end of its journal row."""

    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        request: CleanupRequest,
        opened: Callable[[str], Session],
        session: Session,
        draft: Draft,
        emit: Emit,
    ) -> None:
        if not request.kinds:
            raise UsageError("what is to be retired?", hint="opssight-migrate cleanup --all -n")
        self.settings = settings
        self.profile = profile
        self.request = request
        self.observer = Observer(lambda: opened("opssight-migrate/observer"))
        self.session = session
        self.draft = draft
        self.receipts: list[LockTaken] = []
        self.emit = emit
        self.stop = StopSignal(session, emit)
        self.monitor = Monitor(lambda: opened("opssight-migrate/monitor"), self._warn)
        self.governor = undertaking.governed(self.monitor, profile, self.stop, emit)

    def go(self, confirm: Confirm) -> None:
        """Look, ask and do."""
        if not self.request.dry_run:
            operators.refuse_stranger(self.session, self.profile, "cleanup")
            exclusive.take(self.session)
            exclusive.end_orphans(self.session)
        things, plan, is_copy = self._looked()
        self.emit(PlanMade(plan=plan))
        for blocker in plan.blockers[1:]:
            self.draft.block(blocker)
        if refusal := preflight.refusal(plan.blockers):
            raise refusal
        if not things:
            self.draft.status = "nothing_to_do"
            self._next("status", undertaking.WHAT_MAY_FOLLOW)
            return
        if self.request.dry_run:
            self.draft.status = "pending"
            self._next(f"cleanup {self.request.options}", "carry out this plan")
            return
        confirm(plan, is_copy)
        with self.stop.listening():
            self._carry_out(things, plan, is_copy=is_copy)

    def _looked(self) -> tuple[tuple[Retirement, ...], Plan, bool]:
        session = self.session
        with session.reading():
            facts = connect.facts(session)
            found = marker.read(session)
            is_copy = found is not None and marker.is_copy(found, self.profile.name, facts)
            current = catalog.current_revision(session)
            actual = reader.read_catalogue(session)
            shims = standing.shims_standing(actual)
            blockers = list(self._blockers(current, shims))
            chunks = chunk_retirements.Look()
            if "chunks" in self.request.kinds and not blockers:
                chunks = chunk_retirements.look(self._context(), self._pace)
                blockers += chunks.blockers
            things = () if blockers else (*self._things(shims), *chunks.things)
        self.draft.revision_to, self.draft.shims = current, shims
        plan = Plan(
            environment=self.profile.name,
            protected=self.profile.protected,
            origin=self.profile.origin,
            database=facts,
            revision_from=current,
            revision_to=current or "",
            steps=tuple(thing.planned() for thing in things),
            announcements=(*_announced(things, shims), *chunks.waiting, *self._kept(things)),
            blockers=tuple(blockers),
        )
        return things, plan, is_copy

    def _blockers(self, current: str | None, shims: tuple[str, ...]) -> list[Blocker]:
        if current is None:
            return [Blocker(message="this database is not OpsSight's", where="alembic_version")]
        if "shims" not in self.request.kinds:
            return []
        again = f"opssight-migrate cleanup {self.request.options} {self.request.argv_hint}".strip()
        gone = self.request.release_is_gone
        seen = retirement.shim_blockers(self.session, shims, release_is_gone=gone, again=again)
        return [*seen, *(preflight.lacking(self.session) if shims else ())]

    def _things(self, shims: tuple[str, ...]) -> list[Retirement]:
        floor = self.settings.cleanup
        ctx, limits = self._context(), self._limits(floor.keep_days)
        aside = self._limits(floor.keep_retired_days)
        ways: dict[str, Callable[[], Iterable[Retirement]]] = {
            "shims": lambda: retirement.shim_retirements(ctx, shims),
            "archives": lambda: retirement.archive_retirements(ctx, limits),
            "artifacts": lambda: retirement.artifact_retirements(ctx, limits),
            "retired": lambda: retirement.database_retirements(ctx, aside),
            "backups": lambda: self._backups(limits),
            "logs": lambda: self._logs(limits),
        }
        return [thing for kind in self.request.kinds if kind in ways for thing in ways[kind]()]

    def _kept(self, things: tuple[Retirement, ...]) -> Iterator[str]:
        """Say which databases that were set aside stay: somebody was sent here for them."""
        if "retired" not in self.request.kinds:
            return
        going = {thing.table for thing in things}
        days = self.settings.cleanup.keep_retired_days
        for one in leftovers.retired_databases(self.session):
            if one.name not in going:
                yield (
                    f"database {one.name} stays, {naturalsize(one.size_bytes)}: in use, or not yet"
                    f" set aside for {days} days (cleanup.keep_retired_days, --older-than)"
                )

    def _logs(self, limits: Limits) -> list[Retirement]:
        if self.request.log_dir is None:
            return []
        candidates = old_logs.candidates(self.request.log_dir, self.profile.name)
        return [
            Retirement(
                id=f"log {Path(one.name).name}",
                title=naturalsize(old_logs.size_bytes(one.name)),
                table=one.name,
                work=partial(old_logs.remove, one.name),
            )
            for one in limits.above(candidates)
        ]

    def _backups(self, limits: Limits) -> list[Retirement]:
        shelf = safety.shelf_of(self.profile)
        lying = old_backups.found(shelf, self.profile.name)
        candidates = old_backups.candidates(
            lying, self.profile.name, is_unfinished=retirement.is_unfinished(self.session)
        )
        return [
            Retirement(
                id=f"backup {one.name.removesuffix(manifest.SUFFIX)}",
                title=old_backups.sentence(lying[one.name]),
                table=str(lying[one.name].path),
                work=partial(shelf.remove, lying[one.name]),
                atomic=False,
            )
            for one in limits.above(candidates)
        ]

    def _limits(self, keep_days: int) -> Limits:
        keep = self.request.older_than or timedelta(days=keep_days)
        return Limits(
            environment=self.profile.name,
            keep_last=max(self.request.keep_last or 0, self.settings.cleanup.keep_last),
            before=utc_now() - keep,
        )

    def _context(self) -> StepContext:
        ctx = wiring.looking(self.session, self.profile, self._hear, window_s=self.request.window_s)
        return replace(ctx, drive=undertaking.driven(ctx, self.stop, self.observer))

    def _carry_out(self, things: tuple[Retirement, ...], plan: Plan, *, is_copy: bool) -> None:
        with self.session.writing():
            journal.install(self.session)
            marker.mark(self.session, self.profile.name, plan.database, adopt=is_copy)
        book = Journal.begin(
            self.session, undertaking.facts_of("cleanup", self.settings, self.profile, plan)
        )
        self.emit(RunStarted(run_id=book.run_id, resumes=None, steps_total=len(things)))
        started = time.monotonic()
        status: Status = "failed"
        try:
            for number, thing in enumerate(things, start=1):
                self.stop.pause_point()
                self._retire(book, thing, number, len(things))
            self._prove(plan)
            book.end("ok")
            status = self.draft.status
        except MigrateError as error:
            ended = undertaking.as_resumable(self.stop.reason(error))
            status = status_of(ended)
            undertaking.ended_badly(book, ended, lambda _: None, self.emit)
            raise ended from error
        finally:
            self.monitor.close()
            undertaking.close(self.observer, self.emit)
            undertaking.account(self.draft, self.governor)
            undertaking.look_again(self.session, self.draft)
            elapsed_s = time.monotonic() - started
            self.emit(RunFinished(run_id=book.run_id, status=status, elapsed_s=elapsed_s))
        self._next("verify", "prove that all is well")

    def _retire(self, book: Journal, thing: Retirement, number: int, total: int) -> None:
        book.step_started(thing.id, "retire")
        title = thing.title
        self.emit(StepStarted(step_id=thing.id, title=title, number=number, steps_total=total))
        began = time.monotonic()
        if not thing.atomic:
            thing.work()
        with self.session.writing():
            book.guard()
            if thing.atomic:
                thing.work()
            for taken in self.receipts:
                book.receive(taken)
            self.receipts.clear()
            book.step_ended(thing.id, "done", thing.rows)
            book.audit(
                Audit(operation=thing.operation, severity="MEDIUM", table=thing.table[:100]),
                f"retired {thing.id}: {thing.title}",
                record=thing.id[:50],
                context={"rows": thing.rows},
            )
        self.emit(
            StepFinished(
                step_id=thing.id,
                title=title,
                rows=thing.rows,
                elapsed_s=time.monotonic() - began,
            )
        )

    def _prove(self, plan: Plan) -> None:
        """After the shims the catalogue is the golden one, with nothing of ours beside it."""
        if "shims" not in self.request.kinds or plan.revision_from is None:
            return
        with self.session.reading():
            actual = reader.read_catalogue(self.session)
            wrong = [
                *(one.sentence for one in standing.altered(self.session, plan.revision_to, actual)),
                *standing.shims_standing(actual),
            ]
        if wrong:
            raise StepFailedError(
                f"the catalogue is not that of {plan.revision_to}: {wrong[0]}",
                hint="opssight-migrate verify",
            )

    def _hear(self, event: Event) -> None:
        """Keep lock receipts until the thing's end writes them, and pass everything on."""
        if isinstance(event, LockTaken):
            self.receipts.append(event)
        self.emit(event)

    def _pace(self) -> None:
        self.governor.pace()

    def _warn(self, message: str) -> None:
        self.emit(Noted(severity="warning", message=message))

    def _next(self, verb: str, why: str) -> None:
        self.draft.next.append(undertaking.next_step(verb, self.request.argv_hint, why))


def _announced(things: tuple[Retirement, ...], shims: tuple[str, ...]) -> list[str]:
    """Say of each thing what it is, but of shims, which are known; then what is otherwise."""
    told = [f"{one.id}: {one.title}" for one in things if one.id not in shims]
    return [*told, *(note for one in things for note in one.notes)]
