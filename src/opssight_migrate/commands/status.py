"""``status``: where a database is, what stands beside it, and what a run would do. Reads only."""

from __future__ import annotations

from opssight_migrate.commands import wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.engine import planner
from opssight_migrate.model.events import Emit, Event, PlanMade
from opssight_migrate.model.report import LastRun, Next, Report
from opssight_migrate.postgres import journal, standing
from opssight_migrate.settings import Profile, Settings


def status(settings: Settings, profile: Profile, *, emit: Emit, argv_hint: str = "") -> Report:
    """Report the revision, the pending steps, the shims and the last run. Exit 0 either way."""
    del settings
    draft = Draft("status", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.connected(profile, "status", tell) as session:
        target = wiring.target_of(profile, None)
        prospect = planner.prospect(wiring.looking(session, profile, emit), target)
        tell(PlanMade(plan=prospect.plan))
        draft.revision_to = prospect.plan.revision_from
        draft.shims = standing.shims_standing(prospect.catalogue)
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
        for blocker in prospect.plan.blockers:
            draft.block(blocker)
        draft.status = "ok" if prospect.is_empty else "pending"
        verb = "verify" if prospect.is_empty else "migrate -n"
        why = "prove that all is well" if prospect.is_empty else "see the plan"
        command = " ".join(filter(None, ("opssight-migrate", verb, argv_hint)))
        draft.next.append(Next(command=command, why=why))
    return draft.report()
