"""``status``: where a database is, what stands beside it, and what a run would do. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from humanize import naturalsize

from opssight_migrate.commands import undertaking, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.engine import planner
from opssight_migrate.engine.planner import Prospect
from opssight_migrate.model.events import Emit, Event, PlanMade
from opssight_migrate.model.plan import Obstacle
from opssight_migrate.model.report import LastRun, Next, Report
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import (
    archive,
    hypertables,
    journal,
    leftovers,
    past_runs,
    standing,
)
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries


def status(settings: Settings, profile: Profile, *, emit: Emit, argv_hint: str = "") -> Report:
    """Report the revision, the pending steps, the shims and the last run. Exit 0 either way."""
    del settings
    draft = Draft("status", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.connected(profile, "status", tell) as session:
        target = wiring.target_of(profile, None)
        looking = wiring.looking(session, profile, emit)
        prospect = planner.prospect(looking, target)
        tell(PlanMade(plan=prospect.plan))
        draft.revision_to = prospect.plan.revision_from
        draft.shims = standing.shims_standing(prospect.catalogue)
        with session.reading():
            draft.archives = archive.sentences(session)
            draft.retired = tuple(
                f"{one.name}, {naturalsize(one.size_bytes)}"
                for one in leftovers.retired_databases(session)
            )
        last = journal.last_run(session)
        if last is not None:
            draft.last_run = LastRun(
                id=last.id,
                command=last.command,
                status=last.status,
                started_at=last.started_at,
                finished_at=last.finished_at,
                error=last.error,
            )
        if prospect.is_empty and (note := SetUpTimeSeries().left_out(looking)):
            draft.hear(note)
        for blocker in prospect.plan.blockers:
            draft.block(blocker)
        draft.status = "pending" if not prospect.is_empty or _is_blocked(prospect) else "ok"
        way = past_runs.way_back_to(session, last.revision_to) if last is not None else ""
        holds_chunks = hypertables.some_adopted(session)
        for verb, why in _following(prospect, draft.shims, last, way, holds_chunks=holds_chunks):
            command = " ".join(filter(None, ("opssight-migrate", verb, argv_hint)))
            draft.next.append(Next(command=command, why=why))
    return draft.report()


def _is_blocked(prospect: Prospect) -> bool:
    """Tell whether there is something that a migration would have to do, and could not.

    At its target a reader who may not migrate, or a standby, is up to date all the same.
    """
    plan = prospect.plan
    known = plan.revision_from is not None and revisions.is_published(plan.revision_from)
    if known and revisions.is_at_least(plan.revision_from, plan.revision_to):
        return any(blocker.kind is Obstacle.SHAPE for blocker in plan.blockers)
    return bool(plan.blockers)


def _following(
    prospect: Prospect,
    shims: tuple[str, ...],
    last: journal.LastRun | None,
    way_back: str,
    *,
    holds_chunks: bool,
) -> Iterator[tuple[str, str]]:
    """Say what may be typed next: what stopped on the way comes before all else."""
    if last is not None and last.command == "rollback" and last.status not in ("ok", "superseded"):
        yield f"rollback {way_back}", "goes on from where it stopped"
        return
    if not prospect.is_empty or _is_blocked(prospect):
        yield "migrate -n", "see what stands in the way" if prospect.is_empty else "see the plan"
        return
    yield "verify", "prove that all is well"
    if shims:
        yield "cleanup --shims -n", "once the old release is gone"
        yield f"rollback --to-revision {revisions.START} -n", "the way back"
    if holds_chunks:
        yield "cleanup --chunks -n", undertaking.CHUNKS_WHY
