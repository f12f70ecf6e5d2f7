"""The plan of a data rollback: what stands in its way, what it brings, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from opssight_migrate.backups.sources import Source
from opssight_migrate.engine.retreat import Retreat
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Estimate,
    Forecast,
    LossKind,
    Obstacle,
    Plan,
    PlannedStep,
    PromisedLock,
)
from opssight_migrate.opssight import rates
from opssight_migrate.opssight.goings import going_with
from opssight_migrate.postgres import refill, swap
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

SWAP = "swap-databases"
KEEP = "keep-beside"
REFILL = "replace-rows"


def obstacles(live: Session, facts: DatabaseFacts, *, terminates: bool) -> Iterable[Blocker]:
    """Return what keeps our role from putting another database in the place of this one."""
    for lack in swap.lacking(live):
        yield Blocker(
            message=f"{lack.why}, and this role may not do that",
            where=f"database {facts.name}",
            hint=f"{lack.grant}; or restore beside with --into",
            kind=Obstacle.PRIVILEGE,
        )
    if names := swap.extensions_of_superusers(live):
        yield Blocker(
            message=f"only a superuser can create {', '.join(names)} in a new database",
            where=f"database {facts.name}",
            hint="connect as a superuser",
            kind=Obstacle.PRIVILEGE,
        )
    for sentence in swap.in_the_way(live):
        yield Blocker(message=sentence, where=f"database {facts.name}", hint="end or drop it first")
    if not terminates and (connected := clients(live, facts)):
        yield Blocker(
            message=connected,
            where=f"database {facts.name}",
            hint="stop them, or allow them to be ended at the swap: --terminate",
        )


def clients(live: Session, facts: DatabaseFacts) -> str | None:
    """Say how many clients are connected; None without any."""
    number = swap.clients_of(live, facts.name)
    if not number:
        return None
    return f"{number} client{'s are' if number > 1 else ' is'} connected to {facts.name}"


def without_steps(
    profile: Profile, facts: DatabaseFacts, now: str | None, then: str | None
) -> Plan:
    """Return a plan to be completed; ``now`` and ``then`` are revisions, None before the first."""
    return Plan(
        environment=profile.name,
        protected=profile.protected,
        origin=profile.origin,
        database=facts,
        revision_from=now,
        revision_to=then or "an empty database",
        steps=(),
    )


def last_step(source: Source, facts: DatabaseFacts, rows: int, into: str | None) -> PlannedStep:
    """Return the step that gives the restored database its name."""
    if into is not None:
        return PlannedStep(
            step_id=KEEP,
            title=f"keep what was restored from {source.path.name} as {into}",
            kind="data",
            estimate=Estimate(),
        )
    seconds = rates.SWAPPED_S + rows / rates.COUNTED_ROWS_PER_S
    return PlannedStep(
        step_id=SWAP,
        title=f"put what was restored from {source.path.name} in the place of {facts.name}",
        kind="data",
        estimate=Estimate(
            locks=(
                PromisedLock(
                    relation="every table", mode="SHARE", at_most_ms=round(seconds * 1000)
                ),
            ),
            reference_s=round(seconds, 3),
        ),
        forecast=Forecast(p50_s=seconds, p90_s=seconds * rates.SPREAD),
    )


def refilling(source: Source, rows: int) -> PlannedStep:
    """Return the step that replaces all rows where they stand, in one transaction."""
    seconds = rows / rates.REFILLED_ROWS_PER_S
    return PlannedStep(
        step_id=REFILL,
        title=f"replace all rows with those of {source.path.name}, in one transaction",
        kind="data",
        estimate=Estimate(
            rows=rows,
            locks=(
                PromisedLock(
                    relation="every table",
                    at_most_ms=round(seconds * rates.SPREAD * 1000),
                ),
            ),
            reference_s=round(seconds, 3),
            wal_bytes=rows * rates.REFILLED_ROW_WAL_BYTES,
        ),
        forecast=Forecast(p50_s=seconds, p90_s=seconds * rates.SPREAD),
    )


def announced_in_place(source: Source, compared: str, step: PlannedStep) -> tuple[str, ...]:
    """Say what it means that no database may be made here."""
    usual, worst = step.forecast.p50_s, step.forecast.p90_s
    return (
        f"{source.path}: {source.sentence}",
        compared,
        "this role may make no database: rows are replaced where they stand. Everybody waits then,"
        f" readers too, for about {usual:,.1f} s, at worst {worst:,.1f} s",
        "grants, comments and what you added stay as they are now",
        "the rows of now are in the safety backup only; what is written after that backup began"
        " stops the run",
    )


def in_place(
    plan: Plan, back: Retreat, onward: Retreat | None, live: Session, restored: Session
) -> Plan:
    """Return the plan of going back by schema first, then by rows, then on by schema."""
    going = {table for step in back.steps for table in going_with(step.id).tables}
    blockers = [
        *back.plan.blockers,
        *(
            Blocker(
                message=sentence,
                where=f"database {plan.database.name}",
                hint=f"give {plan.database.user} CREATEDB: then it is restored beside",
            )
            for sentence in refill.obstacles(live, restored, going)
        ),
        *(onward.plan.blockers if onward else ()),
    ]
    # What goes back by schema is archived, and a table that the backup lacks stays as it is.
    kept = tuple(one for one in plan.losses if one.kind is not LossKind.UNKNOWN)
    [refilled] = [step for step in plan.steps if step.step_id == REFILL]
    return replace(
        plan,
        steps=(*back.plan.steps, refilled, *(onward.plan.steps if onward else ())),
        losses=(*back.plan.losses, *kept),
        blockers=tuple(blockers),
    )


def announced(
    source: Source, facts: DatabaseFacts, compared: str, into: str | None
) -> tuple[str, ...]:
    """Say what was done so far, and what happens to the database that stands there now."""
    said = (f"{source.path}: {source.sentence}", compared)
    if into is not None:
        return (*said, f"it stays beside, as database {into}; {facts.name} is not touched")
    return (
        *said,
        f"at the swap writers wait while rows written meanwhile are counted, then every session is"
        f" ended; who connects again to {facts.name} meets the restored database",
        f"the database of now is kept whole, as {swap.retired_name(facts.name, '<run>')}, until"
        " cleanup --retired",
    )
