"""What is looked at before anything is changed: shape, catalogue, privileges, replication."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.model.errors import (
    OldReleaseError,
    PrivilegeError,
    PublishedError,
    RefusedError,
    ShapeError,
    StandbyError,
)
from opssight_migrate.model.plan import Blocker, Obstacle
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import Catalogue, golden
from opssight_migrate.opssight.shapes import Shape, recognised
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import (
    connect,
    drift,
    extras,
    privileges,
    replication,
    standing,
)
from opssight_migrate.postgres.drift import Difference
from opssight_migrate.postgres.session import Session

_ERRORS: dict[Obstacle, type[RefusedError]] = {
    Obstacle.REFUSED: RefusedError,
    Obstacle.SHAPE: ShapeError,
    Obstacle.PRIVILEGE: PrivilegeError,
    Obstacle.STANDBY: StandbyError,
    Obstacle.PUBLISHED: PublishedError,
    Obstacle.OLD_RELEASE: OldReleaseError,
}


def refusal(blockers: Iterable[Blocker]) -> RefusedError | None:
    """Return one error that says all of them, of the first one's kind; None without any."""
    found = list(blockers)
    if not found:
        return None
    first = found[0]
    message = first.message if len(found) == 1 else f"{first.message} (and {len(found) - 1} more)"
    return _ERRORS[first.kind](message, hint=first.hint, where=first.where)


def look(
    session: Session, current: str | None, actual: Catalogue, target: str
) -> Iterable[Blocker]:
    """Say all that stands against a run from ``current`` to ``target``."""
    if connect.is_standby(session):
        yield _STANDBY
        return
    unusable = list(shape(current, actual))
    yield from unusable
    if unusable:
        return
    yield from _drift(session, current, actual)
    yield from lacking(session, target)
    if revisions.between(current, target):
        yield from _replication(session)


def look_back(
    session: Session, current: str | None, actual: Catalogue, *, going_on: bool
) -> Iterable[Blocker]:
    """Say all that stands against a way back; ``going_on``: from where another one stopped."""
    if connect.is_standby(session):
        yield _STANDBY
        return
    unusable = list(shape(current, actual))
    yield from unusable
    if unusable:
        return
    look_at = standing.refused_on_the_way_down if going_on else standing.refused
    for difference in look_at(session, current, actual):
        yield _as_blocker(difference)
    yield from lacking(session, archives=True)


def lacking(
    session: Session, target: str = revisions.HEAD, *, archives: bool = False
) -> Iterable[Blocker]:
    """Say what our role may not do to OpsSight's tables up to ``target``; others' are not ours."""
    tables = sorted(golden(target)["tables"])
    for lack in privileges.lacking(session, tables, archives=archives):
        yield Blocker(
            message=lack.why, hint=f"{lack.grant};", where=lack.where, kind=Obstacle.PRIVILEGE
        )


_STANDBY = Blocker(
    message="the server is a standby: it cannot be written to",
    hint="name the primary in the profile",
    kind=Obstacle.STANDBY,
)


def shape(current: str | None, actual: Catalogue) -> Iterable[Blocker]:
    """Say why a catalogue is none of OpsSight's own chain; nothing where it is."""
    if current is not None and not revisions.is_published(current):
        yield Blocker(
            message=f"revision {current!r} is none of the published ones",
            where="alembic_version",
            hint="an update of opssight-migrate may know it: pip install -U opssight-migrate",
        )
        return
    if current is None and not drift.differences(golden(revisions.START), actual):
        # The first revision made everything and was killed before its stamp.
        return
    columns = {
        name: {column["name"] for column in table["columns"]}
        for name, table in actual["tables"].items()
    }
    found, signs = recognised(columns, current is not None)
    if found not in (Shape.A_CHAIN, Shape.EMPTY):
        yield Blocker(
            message=f"this database is {found.sentence} ({'; '.join(signs)})",
            where="schema public",
            hint="check the profile's URL: opssight-migrate status",
            kind=Obstacle.SHAPE,
        )


def _drift(session: Session, current: str | None, actual: Catalogue) -> Iterable[Blocker]:
    for difference in standing.refused(session, current, actual):
        yield _as_blocker(difference)


def _as_blocker(difference: Difference) -> Blocker:
    return Blocker(
        message=difference.sentence,
        where=difference.where,
        hint=difference.mending or "compare it with the same object of a fresh OpsSight",
        kind=Obstacle.SHAPE,
    )


def _replication(session: Session) -> Iterable[Blocker]:
    for name, tables in replication.published(session, _CHANGED).items():
        yield Blocker(
            message=f"publication {name} carries {', '.join(tables)}, and DDL is not replicated",
            where=f"publication {name}",
            hint="add organization_id at the subscriber first, then run with --allow OM308",
            kind=Obstacle.PUBLISHED,
        )
    for slot in replication.active_slots(session):
        yield Blocker(
            message=f"logical slot {slot} is being read, and DDL is not replicated",
            where=f"slot {slot}",
            hint="make sure that its reader bears new columns, then run with --allow OM308",
            kind=Obstacle.PUBLISHED,
        )


_CHANGED = (*TENANT_TABLES, "permissions", "roles", "user_permissions")


def additional(session: Session, current: str | None, actual: Catalogue) -> tuple[str, ...]:
    """Name what the database has beyond OpsSight's own: it is kept, and compared afterwards."""
    return (*standing.additional(current, actual), *map(str, extras.read_extras(session)))
