"""``history``: the runs of a database, from its own journal. Reads only."""

from __future__ import annotations

from typing import Literal

from opssight_migrate.commands import wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import UsageError
from opssight_migrate.model.events import Emit
from opssight_migrate.model.report import Next, Report, ReportStep, Rows, RunEntry
from opssight_migrate.postgres import catalog, connect, logbook
from opssight_migrate.postgres.logbook import PastRun, PastStep
from opssight_migrate.settings import Profile


def history(
    profile: Profile, *, run_id: str | None, limit: int, emit: Emit, argv_hint: str = ""
) -> Report:
    """Report the newest runs, or one of them with its steps."""
    draft = Draft("history", profile)
    entries: tuple[RunEntry, ...] = ()
    steps: tuple[ReportStep, ...] = ()
    with draft.recording(), wiring.connected(profile, "history", emit) as session:
        draft.database = connect.facts(session)
        with session.reading():
            draft.revision_to = catalog.current_revision(session)
            found = logbook.runs(session, limit=limit, run_id=run_id)
            if run_id is not None and not found:
                raise UsageError(
                    f"this database knows no run {run_id}",
                    hint=f"opssight-migrate history {argv_hint}".strip(),
                )
            if run_id is not None:
                steps = tuple(_step(one) for one in logbook.steps(session, run_id))
        entries = tuple(_entry(one) for one in found)
        draft.status = "ok" if found else "nothing_to_do"
        if found and run_id is None:
            command = f"opssight-migrate history {found[0].id} {argv_hint}".strip()
            draft.next.append(Next(command=command, why="the newest one in detail"))
    return draft.report().model_copy(update={"runs": entries, "steps": steps})


def _entry(run: PastRun) -> RunEntry:
    return RunEntry(**{name: getattr(run, name) for name in PastRun.__slots__})


def _step(step: PastStep) -> ReportStep:
    known: dict[str, Literal["pending", "done", "running", "failed"]] = {
        "done": "done",
        "running": "running",
    }
    rows = None
    if step.rows is not None:
        rows = Rows(done=step.rows, total=step.rows, exact=True)
    return ReportStep(
        id=step.step_id,
        title="",
        kind="schema" if step.kind == "schema" else "data",
        status=known.get(step.status, "failed"),
        duration_ms=step.duration_ms,
        rows=rows,
    )
