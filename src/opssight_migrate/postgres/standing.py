"""How the catalogue stands to the golden one: what refuses a run, what is a shim, what is extra.

Some differences are our own doing and are allowed: the shims, a revision that was begun and not
stamped, a hypertable's primary key (and its foreign keys, while it is being made), and the one
variant that OpsSight's own history made, organization_id present and nullable.
"""

from __future__ import annotations

from collections.abc import Callable

from opssight_migrate.opssight import revisions, shims
from opssight_migrate.opssight.golden import Catalogue, golden
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import adoption, timescale
from opssight_migrate.postgres.drift import Difference, Kind, Thing, differences
from opssight_migrate.postgres.hypertables import SERIES
from opssight_migrate.postgres.session import Session

_OUR_INDEXES = frozenset(
    name for shim in shims.ONCE_UNIQUE for name in (shim.index, shim.twin, shim.golden_index)
)
_OUR_DEFAULTS = frozenset((shim.table, shim.column) for shim in shims.DEFAULTS)


def refused(session: Session, current: str | None, actual: Catalogue) -> list[Difference]:
    """Return the missing and altered objects that a run must not begin with."""
    if current is None:
        return []
    is_series = _series_of(session)
    found = [
        difference
        for difference in differences(golden(current), actual)
        if difference.refuses
        and not _is_shim(difference)
        and not _is_nullable_variant(difference)
        and not is_series(difference)
    ]
    following = revisions.between(current, revisions.HEAD)
    if not found or not following:
        return found
    ahead = {_key(d) for d in differences(golden(following[0].id), actual) if d.refuses}
    if not ahead:
        # All of the next revision is done but for its stamp.
        return []
    return [
        difference
        for difference in found
        if _key(difference) in ahead or _is_lost_uniqueness(difference, actual)
    ]


def altered(session: Session, current: str, actual: Catalogue) -> list[Difference]:
    """Return what is not golden at ``current``, shims and hypertables' keys excepted."""
    is_series = _series_of(session)
    return [
        difference
        for difference in differences(golden(current), actual)
        if difference.refuses and not _is_shim(difference) and not is_series(difference)
    ]


def refused_on_the_way_down(
    session: Session, current: str | None, actual: Catalogue
) -> list[Difference]:
    """Return what a rollback must not go on with, where one died within a revision's downgrade.

    What is as it was before that revision is what the downgrade has done already.
    """
    found = refused(session, current, actual)
    before = revisions.before(current) if current else None
    if not found or before is None:
        return found
    behind = {_key(d) for d in differences(golden(before), actual) if d.refuses}
    return [difference for difference in found if _key(difference) in behind]


def is_as_made_by(revision: str, table: str, actual: Catalogue) -> bool:
    """Tell whether a table stands with the columns that the revision gives it."""
    found = actual["tables"].get(table)
    wanted = golden(revision)["tables"][table]["columns"]
    return found is not None and found["columns"] == wanted


def has_column_of(revision: str, table: str, column: str, actual: Catalogue) -> bool:
    """Tell whether a column stands as the revision adds it, its shim's default not counted."""
    for wanted in golden(revision)["tables"][table]["columns"]:
        if wanted["name"] == column:
            columns = actual["tables"].get(table, {"columns": []})["columns"]
            return any(wanted == {**found, "default": wanted["default"]} for found in columns)
    return False


def left_over(target: str, actual: Catalogue) -> list[Difference]:
    """Return what undone revisions should have taken with them, and did not."""
    beyond = {
        _key(d) for d in differences(golden(revisions.HEAD), actual) if d.kind is Kind.ADDITIONAL
    }
    gone = {
        name
        for shim in shims.ONCE_UNIQUE
        if not revisions.is_at_least(target, shim.revision)
        for name in (shim.index, shim.twin)
    }
    return [
        difference
        for difference in differences(golden(target), actual)
        if difference.kind is Kind.ADDITIONAL
        and (_key(difference) not in beyond or difference.name in gone)
        and not (_is_shim(difference) or difference.name in _OUR_INDEXES - gone)
    ]


def additional(current: str | None, actual: Catalogue) -> tuple[str, ...]:
    """Name tables, columns, indexes, labels and the like that no revision of the chain makes."""
    return tuple(
        f"{one.part} {one.found} of {one.thing} {one.where}"
        if one.part
        else f"{one.thing} {one.where}"
        for one in additions(current, actual)
    )


def additions(current: str | None, actual: Catalogue) -> list[Difference]:
    """Return them as differences."""
    if current is None:
        return []
    beyond = differences(golden(revisions.HEAD), actual)
    known = {_key(d) for d in differences(golden(current), actual) if d.kind is Kind.ADDITIONAL}
    return [
        difference
        for difference in beyond
        if difference.kind is Kind.ADDITIONAL
        and _key(difference) in known
        and difference.name not in _OUR_INDEXES
        and not _is_shim(difference)
    ]


def shims_standing(actual: Catalogue) -> tuple[str, ...]:
    """Name the shims that stand in this database now."""
    standing: list[str] = []
    for shim in shims.DEFAULTS:
        columns = actual["tables"].get(shim.table, {"columns": []})["columns"]
        if any(c["name"] == shim.column and c["default"] is not None for c in columns):
            standing.append(shim.name)
    for unique in shims.ONCE_UNIQUE:
        indexes = actual["tables"].get(unique.table, {"indexes": []})["indexes"]
        if any(index["name"] == unique.index for index in indexes):
            standing.append(unique.name)
    return tuple(standing)


def is_of_a_shim(difference: Difference) -> bool:
    """Tell whether a difference is that a shim stands, or does not."""
    return _is_shim(difference) or difference.name in _OUR_INDEXES


def _key(difference: Difference) -> tuple[Thing, str | None, str, str | None]:
    return difference.thing, difference.table, difference.name, difference.part


def _is_shim(difference: Difference) -> bool:
    return (
        difference.thing is Thing.COLUMN
        and difference.part == "default"
        and (difference.table, difference.name) in _OUR_DEFAULTS
    )


def _is_nullable_variant(difference: Difference) -> bool:
    return (
        difference.thing is Thing.COLUMN
        and difference.part == "nullable"
        and difference.table in TENANT_TABLES
        and difference.name == "organization_id"
    )


def _is_lost_uniqueness(difference: Difference, actual: Catalogue) -> bool:
    """A once-unique index that is plain is ours half-done only where its shim stands beside it."""
    for shim in shims.ONCE_UNIQUE:
        if (difference.table, difference.name) == (shim.table, shim.golden_index):
            indexes = actual["tables"][shim.table]["indexes"]
            return all(index["name"] != shim.index for index in indexes)
    return False


def _series_of(session: Session) -> Callable[[Difference], bool]:
    """Tell differences that are a hypertable's own by its nature, or while it is being made."""
    made = {table for table, _ in SERIES if timescale.is_hypertable(session, table)}
    unfinished = {table for table in made if adoption.is_unfinished(session, table)}

    def is_series(difference: Difference) -> bool:
        table = difference.table
        if table not in made:
            return False
        is_key = difference.name == f"{table}_pkey"
        return is_key or (table in unfinished and difference.thing is Thing.FOREIGN_KEY)

    return is_series
