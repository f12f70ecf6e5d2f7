"""The plan of a data rollback in place: what becomes the backup's, what stays, and who waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from opssight_migrate.backups.sources import Source
from opssight_migrate.engine import preflight
from opssight_migrate.engine.retreat import Retreat
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Estimate,
    Forecast,
    LossKind,
    Plan,
    PlannedStep,
    PromisedLock,
)
from opssight_migrate.opssight import rates
from opssight_migrate.opssight.goings import going_with
from opssight_migrate.postgres import (
    attributes,
    catalog,
    large_objects,
    reader,
    refill,
    timescale_restore,
)
from opssight_migrate.postgres.attributes import Change
from opssight_migrate.postgres.session import Session

REFILL = "replace-rows"
_SHOWN = 3


def beyond_our_server(live: Session, facts: DatabaseFacts) -> Iterator[Blocker]:
    """Say what keeps a backup of this database from being restored on a server of our own."""
    if version := timescale_restore.version_in(live):
        yield Blocker(
            message=f"this database has TimescaleDB {version}, and so has its backup: it cannot be"
            " restored on our own server, which has none, and this role may make no database here",
            where=f"database {facts.name}",
            hint=f"give {facts.user} CREATEDB: then it is restored beside",
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


def announced(
    source: Source, compared: str, step: PlannedStep, live: Session, restored: Session
) -> tuple[str, ...]:
    """Say what it means that no database may be made here."""
    usual, worst = step.forecast.p50_s, step.forecast.p90_s
    with live.reading(), restored.reading():
        along = (*_alike(live, restored), *_left_as_it_is(live, restored))
    return (
        f"{source.path}: {source.sentence}",
        compared,
        "this role may make no database: rows are replaced where they stand. Everybody waits then,"
        f" readers too, for about {usual:,.1f} s, at worst {worst:,.1f} s",
        *along,
        "the rows of now are in the safety backup only; what is written after this plan was made"
        " stops the run",
    )


def _alike(live: Session, restored: Session) -> Iterator[str]:
    """Say what is given back beside the rows, and what our role may not give back."""
    for kind in attributes.KINDS:
        found = attributes.changes(live, restored, kind)
        if ours := [one for one in found if one.is_ours]:
            along = " (with the grants that hang on them)" if kind == attributes.OWNER else ""
            yield f"{_counted(len(ours), kind)} made as in the backup{along}: {_listed(ours)}"
        for one in found:
            if not one.is_ours:
                yield f"this role may not do it, so it is left as it is now: {one.statement}"
    if large_objects.of_others(live):
        return  # that is refused
    if number := large_objects.differing(live, restored):
        yield f"{_counted(number, 'large object')} made as in the backup"


def _left_as_it_is(live: Session, restored: Session) -> Iterator[str]:
    """Say what only one of the two has: nothing is made or dropped beside OpsSight's own."""
    now, then = (_additional(one) for one in (live, restored))
    if added := sorted(now - then):
        yield f"left as it is, and not in the backup: {'; '.join(added)}"
    if gone := sorted(then - now):
        yield f"in the backup, and not brought back: {'; '.join(gone)}"


def _additional(session: Session) -> set[str]:
    current = catalog.current_revision(session)
    return set(preflight.additional(session, current, reader.read_catalogue(session)))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{' is' if number == 1 else 's are'}"


def _listed(changes: Iterable[Change]) -> str:
    texts = [one.statement for one in changes]
    more = f"; and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def completed(
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
        *_of_others(plan, live),
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


def _of_others(plan: Plan, live: Session) -> Iterator[Blocker]:
    for oid, owner in large_objects.of_others(live).items():
        yield Blocker(
            message=f"large object {oid} belongs to {owner}: this role can neither compare nor"
            " replace it",
            where=f"database {plan.database.name}",
            hint=f"have {owner} take it away, or restore beside with a role that has CREATEDB",
        )
