"""What cleanup can retire, thing by thing, each with the way to do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from humanize import naturalsize

from opssight_migrate.backups import scratch
from opssight_migrate.engine.floor import Candidate, above
from opssight_migrate.engine.forecast import forecast
from opssight_migrate.model.plan import Blocker, Estimate, PlannedStep, PromisedLock
from opssight_migrate.opssight import shims
from opssight_migrate.postgres import archive, leftovers, rehearsal, shim_use, unfinished
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import StepContext

KINDS = ("artifacts", "shims", "archives", "backups", "logs", "retired", "chunks")
ALL = KINDS[:-2]
"""What --all means: a retired database may be the only place of rows, and an adopted chunk is the
quick way back, so these have to be named.
"""

CONFIRMATION = "old-release-is-gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """One thing to retire. ``table`` and ``operation`` are what the audit row names; ``atomic`` is
    False for what no transaction may hold. ``notes`` are for the plan: what is otherwise then.
    """

    id: str
    title: str
    table: str
    work: Callable[[], None]
    rows: int | None = None
    atomic: bool = True
    locks: tuple[PromisedLock, ...] = ()
    operation: str = "DELETE"
    reference_s: float = 0.0
    notes: tuple[str, ...] = ()

    def planned(self) -> PlannedStep:
        """Return it as a line of the plan."""
        estimate = Estimate(rows=self.rows, locks=self.locks, reference_s=self.reference_s)
        return PlannedStep(
            step_id=self.id,
            title=self.title,
            kind="retire",
            estimate=estimate,
            forecast=forecast(estimate, ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The floor: nothing younger than ``before``, nor among the newest ``keep_last``."""

    environment: str
    keep_last: int
    before: datetime

    def above(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Return those candidates that may go."""
        return above(
            candidates,
            environment=self.environment,
            keep_last=self.keep_last,
            before=self.before,
        )


def named(ctx: StepContext, step_id: str) -> StepContext:
    """Return a context whose events and lock receipts are those of one thing."""
    return replace(ctx, drive=replace(ctx.drive, step_id=step_id))


def shim_retirements(ctx: StepContext, standing: Iterable[str]) -> Iterator[Retirement]:
    """Contract: take the shims away on which the old release stands."""
    names = frozenset(standing)
    for default in shims.DEFAULTS:
        if default.name in names:
            yield Retirement(
                id=default.name,
                title=f"shim of {default.table}",
                table=default.table,
                work=partial(
                    named(ctx, default.name).ddl.no_default, default.table, default.column
                ),
                atomic=False,
                locks=(PromisedLock(relation=default.table),),
            )
    for unique in shims.ONCE_UNIQUE:
        if unique.name in names:
            yield Retirement(
                id=unique.name,
                title=f"shim of {unique.table}",
                table=unique.table,
                work=partial(named(ctx, unique.name).ddl.drop_index, unique.table, unique.index),
                atomic=False,
                locks=(PromisedLock(relation=unique.table),),
            )


def shim_blockers(
    session: Session, standing: Iterable[str], *, release_is_gone: bool, again: str
) -> list[Blocker]:
    """Say why the shims have to stay: the old release was seen, or nobody can tell.

    ``again`` is the command that was given, to be given once more with an answer to that.
    """
    names = frozenset(standing)
    if not names:
        return []
    blockers = []
    if is_unfinished(session):
        blockers.append(
            Blocker(
                message="a migration or rollback is not finished, and needs the shims",
                hint="opssight-migrate status",
            )
        )
    seen = shim_use.observed(session, names)
    if seen is None and not release_is_gone:
        blockers.append(
            Blocker(
                message="pg_stat_statements counts nothing here, so nobody can tell whether the"
                " old release still writes",
                hint=f"{again} --confirm {CONFIRMATION}",
            )
        )
    for use in seen or ():
        blockers.append(
            Blocker(
                message=f"the old release was seen: {use.sentence}",
                where="pg_stat_statements",
                hint="GRANT pg_read_all_stats to this role"
                if use.shim is None
                else "stop what sends it, SELECT pg_stat_statements_reset(), wait, try again",
            )
        )
    return blockers


def archive_retirements(ctx: StepContext, limits: Limits) -> Iterator[Retirement]:
    """Archives past their keep time; none while an unfinished run may bring one home."""
    session = ctx.session
    needed = is_unfinished(session)
    found = archive.entries(session)
    candidates = [
        Candidate(
            name=schema,
            environment=limits.environment,
            shelf=None,
            at=max(one.at for one in found if one.schema == schema),
            needed=needed or any(one.state == "home" for one in found if one.schema == schema),
        )
        for schema in dict.fromkeys(one.schema for one in found)
    ]
    for one in limits.above(candidates):
        those = [entry for entry in found if entry.schema == one.name]
        yield Retirement(
            id=one.name,
            title=archive.sentence_of(session, one.name, those),
            table=one.name,
            rows=sum(archive.rows_of(session, entry) for entry in those),
            work=partial(archive.retire, session, one.name),
        )


def artifact_retirements(ctx: StepContext, limits: Limits) -> Iterator[Retirement]:
    """Broken indexes of killed builds, scratch databases, old runs in the journal."""
    session = ctx.session
    if not is_unfinished(session):
        for name, table in leftovers.broken_indexes(session):
            yield Retirement(
                id=f"index {name}",
                title="left INVALID by a build that was killed",
                table=table,
                work=partial(named(ctx, f"index {name}").ddl.drop_index, table, name),
                atomic=False,
                locks=(PromisedLock(relation=table),),
            )
    yield from _scratch_retirements(session)
    runs = [
        Candidate(
            name=run.id,
            environment=limits.environment,
            shelf="journal",
            at=run.at,
            needed=run.is_unfinished or run.owes_audit,
        )
        for run in leftovers.past_runs(session, limits.environment)
    ]
    for one in limits.above(runs):
        yield Retirement(
            id=f"run {one.name}",
            title=f"of {one.at:%Y-%m-%d} in the journal",
            table="opssight_migrate.runs",
            work=partial(leftovers.forget_run, session, one.name),
        )


def _scratch_retirements(session: Session) -> Iterator[Retirement]:
    """Databases of rehearsals and of backups' proofs whose process was killed."""
    abandoned = scratch.abandoned(session)
    ways = {rehearsal.PREFIX: leftovers.drop_database, scratch.PREFIX: scratch.drop_abandoned}
    for prefix, drop in ways.items():
        for other in leftovers.scratch_databases(session, prefix):
            if prefix == scratch.PREFIX and other.name not in abandoned:
                continue
            yield Retirement(
                id=f"database {other.name}",
                title=f"scratch, {naturalsize(other.size_bytes)}",
                table=other.name,
                work=partial(drop, session, other.name),
                atomic=False,
            )


def database_retirements(ctx: StepContext, limits: Limits) -> Iterator[Retirement]:
    """Databases that a rollback of data set aside; their age is that of the run in their name."""
    session = ctx.session
    runs = {run.id: run for run in leftovers.past_runs(session, limits.environment)}
    found = {one.name: one for one in leftovers.retired_databases(session)}
    candidates = []
    for one in found.values():
        run = runs.get(one.name.rpartition(leftovers.RETIRED)[2])
        candidates.append(
            Candidate(
                name=one.name,
                environment=limits.environment,
                shelf=None,
                at=run.at if run else datetime.max.replace(tzinfo=UTC),
                # Of an unknown run, in use, or with a slot that would go without a word: stays.
                needed=run is None or run.is_unfinished or one.sessions > 0 or one.slots > 0,
            )
        )
    for candidate in limits.above(candidates):
        size = naturalsize(found[candidate.name].size_bytes)
        yield Retirement(
            id=f"database {candidate.name}",
            title=f"set aside {candidate.at:%Y-%m-%d}, {size}",
            table=candidate.name,
            work=partial(leftovers.drop_database, session, candidate.name),
            atomic=False,
        )


def is_unfinished(session: Session) -> bool:
    """Tell whether a migration or a rollback stopped on the way."""
    return any(unfinished.newest(session, command) for command in ("migrate", "rollback"))
