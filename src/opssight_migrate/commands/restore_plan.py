"""The plan of a data rollback: what stands in its way, what it brings, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.backups.sources import Source
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Estimate,
    Forecast,
    Obstacle,
    Plan,
    PlannedStep,
    PromisedLock,
)
from opssight_migrate.opssight import rates
from opssight_migrate.postgres import swap
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

SWAP = "swap-databases"
KEEP = "keep-beside"


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


def without_steps(profile: Profile, facts: DatabaseFacts, now: str | None) -> Plan:
    """Return a plan to be completed; ``now`` is a revision, None before the first."""
    return Plan(
        environment=profile.name,
        protected=profile.protected,
        origin=profile.origin,
        database=facts,
        revision_from=now,
        revision_to="that of the backup",
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


def announced(
    source: Source, facts: DatabaseFacts, compared: str, then: str | None, into: str | None
) -> tuple[str, ...]:
    """Say what was done so far, and what happens to the database that stands there now.

    ``then`` is the revision of what was restored.
    """
    said = (f"{source.path}: {source.sentence}", compared)
    if into is not None:
        where = f"as database {into}, at revision {then or 'none'}"
        return (*said, f"it stays beside, {where}; {facts.name} is not touched")
    return (
        *said,
        f"at the swap writers wait while rows written meanwhile are counted, then every session is"
        f" ended; who connects again to {facts.name} meets the restored database",
        f"the database of now is kept whole, as {swap.retired_name(facts.name, '<run>')}, until"
        " cleanup --retired",
    )
