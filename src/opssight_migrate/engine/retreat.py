"""The plan of a way back: which revisions, what moves aside, what makes it impossible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from opssight_migrate.engine import preflight
from opssight_migrate.engine.forecast import forecast
from opssight_migrate.model.plan import (
    Blocker,
    Estimate,
    Loss,
    Plan,
    PlannedStep,
)
from opssight_migrate.opssight import rates, revisions, shims
from opssight_migrate.opssight.goings import going_with
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.opssight.lockings import locked_down, narrowed
from opssight_migrate.postgres import (
    archive,
    catalog,
    connect,
    ledger,
    marker,
    past_runs,
    reader,
    sizes,
    standing,
    unfinished,
)
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps import STEPS
from opssight_migrate.steps.base import BaseStep, StepContext

NOTHING = past_runs.BASE
_CLOSED = (
    "the migration that stopped had changed nothing: there is nothing to undo, and it is closed in"
    " the journal"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retreat:
    """A plan, and what it was made from. ``steps`` are to be undone in this order.

    ``is_unproven``: the rollback before, to the same target, ended without its closing proof.
    ``is_unclosed``: a migration from the target stopped before its first step, and is open still.
    """

    plan: Plan
    steps: tuple[BaseStep, ...]
    catalogue: Catalogue
    is_copy: bool
    is_unproven: bool
    is_unclosed: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to undo, nothing left to prove, and no run to be closed."""
        return not (self.steps or self.is_unproven or self.is_unclosed)


def retreat(
    ctx: StepContext,
    target: str,
    obstacles: Sequence[Blocker] = (),
    worked_on: Mapping[str, frozenset[str]] | None = None,
) -> Retreat:
    """Look at the database and say what undoing everything after ``target`` would do.

    ``obstacles`` are what else is known to stand against it; ``worked_on`` are the tables by data
    steps that a run did while their revision stood, and which are undone while it stays.

    Raises: MarkerError.
    """
    session = ctx.session
    with session.reading():
        facts = connect.facts(session)
        found = marker.read(session)
        is_copy = found is not None and marker.is_copy(found, ctx.profile.name, facts)
        current = catalog.current_revision(session)
        actual = reader.read_catalogue(session)
        there = frozenset(actual["tables"])
        left = unfinished.newest(session, "rollback")
        stopped = unfinished.newest(session, "migrate")
        blockers = [*obstacles, *_blockers(session, current, actual, target, going_on=bool(left))]
        steps: tuple[BaseStep, ...] = ()
        losses: tuple[Loss, ...] = ()
        if not blockers:
            steps = (
                *_alone(ctx, worked_on or {}),
                *_with_data_steps(ctx, _to_undo(session, current, target, actual)),
            )
            goings = [going_with(step.id) for step in steps]
            organization = ctx.profile.tenancy.default_organization
            losses = ledger.read(session, goings, (organization.name, organization.slug))
            blockers += ledger.blockers(session, goings, losses)
        is_unclosed = stopped is not None and stopped.changed_nothing_since(target)
        planned = tuple(_planned(ctx, step, there) for step in steps)
        plan = Plan(
            environment=ctx.profile.name,
            protected=ctx.profile.protected,
            origin=ctx.profile.origin,
            database=facts,
            revision_from=current,
            revision_to=target,
            steps=planned,
            announcements=_announced(planned, closes=is_unclosed and not blockers),
            kept=() if blockers else preflight.additional(session, current, actual),
            blockers=tuple(blockers),
            losses=losses,
            in_use=tuple(actual["tables"]),
        )
    is_unproven = left is not None and left.revision_to == target
    return Retreat(
        plan=plan,
        steps=steps,
        catalogue=actual,
        is_copy=is_copy,
        is_unproven=is_unproven,
        is_unclosed=is_unclosed,
    )


def unstamped(session: Session, current: str | None, actual: Catalogue) -> str | None:
    """Return the revision that was begun after ``current`` and died before its stamp, or None.

    The journal knows it, or (of plain Alembic) a table or column that stands just as the
    revision makes it.
    """
    following = revisions.between(current, revisions.HEAD)
    if not following:
        return None
    after = following[0].id
    left = unfinished.newest(session, "migrate")
    if left is not None and after in left.begun - left.done:
        return after
    going = going_with(after)
    if any(standing.is_as_made_by(after, table, actual) for table in going.tables):
        return after
    if any(standing.has_column_of(after, table, name, actual) for table, name in going.columns):
        return after
    return None


def _to_undo(
    session: Session, current: str | None, target: str, actual: Catalogue
) -> list[BaseStep]:
    begun = unstamped(session, current, actual)
    first = begun or current
    if first is None:
        return []
    undone = [
        one.id
        for one in revisions.REVISIONS
        if revisions.is_at_least(first, one.id)
        and (target == NOTHING or not revisions.is_at_least(target, one.id))
    ]
    by_id = {step.id: step for step in STEPS}
    return [by_id[revision] for revision in reversed(undone)]


def _with_data_steps(ctx: StepContext, undone: list[BaseStep]) -> Iterator[BaseStep]:
    """Put before each revision the data steps that stand on it and have something to take back."""
    for revision in undone:
        for step in reversed(STEPS):
            if step.kind == "data" and step.needs == revision.id and step.stands(ctx):
                yield step
        yield revision


def _announced(planned: tuple[PlannedStep, ...], *, closes: bool) -> tuple[str, ...]:
    if closes and not planned:
        return (_CLOSED,)
    return tuple(note for one in planned for note in one.estimate.notes)


def _alone(ctx: StepContext, worked_on: Mapping[str, frozenset[str]]) -> Iterator[BaseStep]:
    """Yield what a run did of data steps whose revision stays, newest first."""
    for step in reversed(STEPS):
        done = step.only(worked_on[step.id]) if step.id in worked_on else None
        if done is not None and done.stands(ctx):
            yield done


def _blockers(
    session: Session, current: str | None, actual: Catalogue, target: str, *, going_on: bool
) -> list[Blocker]:
    found = list(preflight.look_back(session, current, actual, going_on=going_on))
    if not found and target != NOTHING and not revisions.is_at_least(current, target):
        found.append(
            Blocker(
                message=f"the database is at {current}, before {target}",
                where="alembic_version",
                hint=f"opssight-migrate migrate --to {target}",
            )
        )
    found += [
        Blocker(
            message=f"archive {schema} cannot be read by this role",
            where=schema,
            hint="connect as the owner of OpsSight's tables",
        )
        for schema in archive.unreadable(session)
    ]
    return found


def _planned(ctx: StepContext, step: BaseStep, there: frozenset[str]) -> PlannedStep:
    session = ctx.session
    if step.kind == "data":
        estimate = step.undo_estimate(ctx)
        return _line(step, replace(estimate, locks=narrowed(estimate.locks, there)))
    going = going_with(step.id)
    touched = there.intersection(going.tables_touched)
    seconds = rates.PIECE_S * 3 * (1 + len(touched))
    for shim in shims.once_unique_at(step.id):
        if catalog.index_state(session, shim.index) is None:
            # Cleanup took the unique index away: it is built again, while everybody works on.
            seconds += sizes.rows(session, shim.table) / rates.INDEX_ROWS_PER_S
    estimate = Estimate(
        rows=None,
        locks=narrowed(locked_down(step.id), there),
        reference_s=round(seconds, 3),
        wal_bytes=rates.UNDONE_TABLE_WAL_BYTES * len(touched),
    )
    return _line(step, estimate)


def _line(step: BaseStep, estimate: Estimate) -> PlannedStep:
    return PlannedStep(
        step_id=step.id,
        title=f"undo {step.title}",
        kind=step.kind,
        estimate=estimate,
        forecast=forecast(estimate, []),
    )
