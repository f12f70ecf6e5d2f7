"""How the tests of steps carry one out: with the real runner, on a real journal."""

from __future__ import annotations

from psycopg import sql

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.runner import Runner
from opssight_migrate.model.events import BatchDone, Emit, Event, unheard
from opssight_migrate.model.plan import Blocker, Estimate, Plan
from opssight_migrate.model.report import Proof, Report
from opssight_migrate.postgres import connect, journal, marker
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.journal import Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.steps.base import BaseStep, StepContext

_TABLES = """
SELECT relname::text FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> ALL(%s)
 ORDER BY relname
"""
_VERSIONS = "SELECT coalesce(md5(string_agg(ctid::text || xmin::text, ' ' ORDER BY ctid)), '') FROM"
# The journal of a run that is not ended is what a killed one leaves.
FACTS = RunFacts(
    command="migrate",
    environment="test",
    tool_version="0",
    server_version="0",
    settings_digest="0",
    plan_digest="0",
    revision_from=None,
    revision_to="80bd6a3c3fa1",
)


class PullThePlugError(Exception):
    """The process is gone, as far as the engine can tell."""


def context(session: Session, settings: Settings, emit: Emit = unheard) -> StepContext:
    """Return the context of the default environment."""
    profile: Profile = settings.profile(None)
    return StepContext(
        session=session, profile=profile, drive=Drive(session=session, emit=emit), emit=emit
    )


def apply_step(step: BaseStep, session: Session, settings: Settings, emit: Emit = unheard) -> Proof:
    """Carry out one step as a run of its own, with its proof; an exception leaves it unfinished."""
    ctx = context(session, settings, emit)
    with session.writing():
        journal.install(session)
        marker.mark(session, "test", connect.facts(session), adopt=False)
    book = Journal.begin(session, FACTS)
    runner = Runner(
        ctx=ctx,
        journal=book,
        governor=Governor(()),
        target_s=ctx.profile.batch_target.total_seconds(),
    )
    proof = runner.run((step,), ())
    book.end("ok")
    return proof


def run(settings: Settings, request: MigrateRequest | None = None, emit: Emit = unheard) -> Report:
    """Run ``migrate`` on the default environment and say yes."""

    def say_yes(plan: Plan, is_copy: bool) -> None:
        del plan, is_copy

    profile = settings.profile(None)
    return migrate(settings, profile, request or MigrateRequest(), confirm=say_yes, emit=emit)


def blockers(step: BaseStep, session: Session, settings: Settings) -> list[Blocker]:
    """Ask a step, in a READ ONLY transaction, what stands against it."""
    with session.reading():
        return list(step.preconditions(context(session, settings)))


def estimated(step: BaseStep, session: Session, settings: Settings) -> Estimate:
    """Ask a step, in a READ ONLY transaction, what it will do."""
    with session.reading():
        return step.estimate(context(session, settings))


def row_versions(session: Session, *, without: tuple[str, ...] = ("audit_logs",)) -> dict[str, str]:
    """Return where each row of each table stands and who wrote it: equal if nothing was written.

    ``without`` are tables in which every run leaves rows.
    """
    found: dict[str, str] = {}
    for (table,) in session.rows(_TABLES, (list(without),)):
        query = sql.SQL("{} {}").format(sql.SQL(_VERSIONS), sql.Identifier("public", table))
        found[table] = str(session.scalar(query))
    return found


def dying_after(batches: int, events: list[Event]) -> Emit:
    """Collect events until so many batches are done, then pull the plug."""

    def emit(event: Event) -> None:
        events.append(event)
        if sum(isinstance(e, BatchDone) for e in events) == batches:
            raise PullThePlugError

    return emit


def batches_in(events: list[Event]) -> list[int]:
    """Return the running totals that the batches told."""
    return [event.rows_done for event in events if isinstance(event, BatchDone)]
