"""The plan: read from the database, in one READ ONLY snapshot, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opssight_migrate.engine import preflight
from opssight_migrate.engine.forecast import forecast
from opssight_migrate.model.plan import Blocker, Estimate, Plan, PlannedStep, Undo
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import (
    catalog,
    connect,
    history,
    journal,
    marker,
    past_runs,
    reader,
    unfinished,
)
from opssight_migrate.postgres.unfinished import Unfinished
from opssight_migrate.steps import STEPS
from opssight_migrate.steps.base import BaseStep, StepContext
from opssight_migrate.steps.schema_at import shims_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A plan, and what it was made from. ``is_copy`` when the marker is another database's.

    ``is_unproven`` when the run before, to the same target, ended without its closing proof.
    """

    plan: Plan
    pending: tuple[BaseStep, ...]
    catalogue: Catalogue
    is_copy: bool
    is_unproven: bool

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, and nothing left to prove."""
        return not self.pending and not self.is_unproven


def prospect(ctx: StepContext, target: str) -> Prospect:
    """Look at the database and say what a run to ``target`` would do.

    Raises: MarkerError when the database remembers another environment.
    """
    with ctx.session.reading():
        facts = connect.facts(ctx.session)
        found = marker.read(ctx.session)
        is_copy = found is not None and marker.is_copy(found, ctx.profile.name, facts)
        current = catalog.current_revision(ctx.session)
        actual = reader.read_catalogue(ctx.session)
        left = unfinished.newest(ctx.session, "migrate")
        is_unproven = left is not None and left.revision_to == target
        blockers = list(_stopped_on_the_way_back(ctx))
        blockers += [] if blockers else preflight.look(ctx.session, current, actual, target)
        pending: tuple[BaseStep, ...] = ()
        planned: tuple[PlannedStep, ...] = ()
        if _may_begin(blockers):
            pending = tuple(_pending(ctx, current, target, left))
            blockers += _preconditions(ctx, pending)
        if readable := _may_begin(blockers):
            ratios = history.ratios(ctx.session)
            planned = tuple(_planned(ctx, step, ratios.get(step.id, [])) for step in pending)
        populated = readable and catalog.any_has_rows(ctx.session, TABLES_AT_START)
        plan = Plan(
            environment=ctx.profile.name,
            protected=ctx.profile.protected,
            origin=ctx.profile.origin,
            database=facts,
            revision_from=current,
            revision_to=target,
            steps=planned,
            announcements=_announcements(planned, only_proof=is_unproven and not pending),
            kept=preflight.additional(ctx.session, current, actual) if readable else (),
            shims_after=shims_after(current, target, populated=populated),
            blockers=tuple(blockers),
            in_use=tuple(actual["tables"]) if populated else (),
        )
    return Prospect(
        plan=plan,
        pending=pending,
        catalogue=actual,
        is_copy=is_copy,
        is_unproven=is_unproven,
    )


def _stopped_on_the_way_back(ctx: StepContext) -> Iterable[Blocker]:
    """A downgrade that died leaves its revision stamped over a catalogue that lacks pieces."""
    last = journal.last_run(ctx.session)
    left = unfinished.newest(ctx.session, "rollback")
    if left is not None and last is not None and last.command == "rollback":
        way = past_runs.way_back_to(ctx.session, left.revision_to)
        yield Blocker(
            message=f"rollback {last.id} to {left.revision_to} stopped on the way",
            where="opssight_migrate.runs",
            hint=f"opssight-migrate rollback {way} goes on from there",
        )


def steps_to(target: str) -> tuple[BaseStep, ...]:
    """Return the steps that lead to ``target``, in order."""
    return tuple(step for step in STEPS if revisions.is_at_least(target, step.needs))


def _may_begin(blockers: Iterable[Blocker]) -> bool:
    """Tell whether a plan can be made: what stands against it could be allowed by its code."""
    return all(blocker.kind.may_be_allowed for blocker in blockers)


def _pending(
    ctx: StepContext, current: str | None, target: str, left: Unfinished | None
) -> list[BaseStep]:
    """A revision is pending until it is stamped; a data step until its own verification passes.

    One that an unfinished run had before it is carried out all the same: the journal and the
    audit log have its end yet to come.
    """
    return [
        step
        for step in steps_to(target)
        if not revisions.is_at_least(current, step.needs)
        or step.is_pending(ctx)
        or (left is not None and step.kind == "data" and left.left(step.id, step.needs))
    ]


def _announcements(planned: tuple[PlannedStep, ...], *, only_proof: bool) -> tuple[str, ...]:
    if only_proof:
        return ("the run before ended without its closing proof: only that is left to do",)
    return tuple(note for step in planned for note in step.estimate.notes)


def _preconditions(ctx: StepContext, pending: tuple[BaseStep, ...]) -> list[Blocker]:
    if catalog.current_revision(ctx.session) is None:
        return []
    return [blocker for step in pending for blocker in step.preconditions(ctx)]


def _planned(ctx: StepContext, step: BaseStep, ratios: list[float]) -> PlannedStep:
    is_new = not catalog.relation_exists(ctx.session, "users")
    estimate = Estimate() if is_new else step.estimate(ctx)
    return PlannedStep(
        step_id=step.id,
        title=step.title,
        kind=step.kind,
        estimate=estimate,
        forecast=forecast(estimate, ratios),
        undo=_undo(step, catalog.current_revision(ctx.session)),
    )


def _undo(step: BaseStep, current: str | None) -> Undo:
    """Data steps are taken back with their revision: few where the run begins beyond that."""
    if step.kind == "data" and revisions.is_at_least(current, step.needs):
        return step.undo_alone
    return step.undo_kind
