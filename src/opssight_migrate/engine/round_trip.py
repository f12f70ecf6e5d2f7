"""A database before a rollback, and after the way forward again: what is not as it was."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from opssight_migrate.engine.proof import WRITTEN_BY_STEPS
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import catalog, digest, drift, reader, standing
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.drift import Kind
from opssight_migrate.postgres.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Catalogue and rows of a moment. ``ends``: where the keys ended in tables that steps write."""

    revision: str | None
    catalogue: Catalogue
    digests: dict[str, TableDigest]
    ends: dict[str, int]


def read(session: Session, *, like: State | None = None) -> State:
    """Read the state; ``like`` an earlier one: its columns, and only up to where its keys ended."""
    with session.reading():
        columns = digest.columns_by_table(session)
        if like is None:
            ends = {table: _end(session, table) for table in WRITTEN_BY_STEPS & columns.keys()}
        else:
            ends = like.ends
            columns = {
                table: one.columns
                for table, one in like.digests.items()
                if set(one.columns) <= set(columns.get(table, ()))
            }
        return State(
            revision=catalog.current_revision(session),
            catalogue=reader.read_catalogue(session),
            digests={
                table: digest.digest_table(session, table, names, hi=ends.get(table))
                for table, names in columns.items()
            },
            ends=ends,
        )


def differences(
    before: State, after: State, announced: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Say where it is not as it was, and how; ``announced`` objects are meant to go.

    Shims may come, since a database with rows has them after each migration; the order of columns
    may change, since a column comes back as the last one.
    """
    for one in drift.differences(before.catalogue, after.catalogue):
        is_announced = one.name in announced or one.table in announced
        if one.kind is not Kind.ORDER and not is_announced and not standing.is_of_a_shim(one):
            yield one.where, f"the catalogue is another: {one.sentence}"
    lost = set(standing.shims_standing(before.catalogue)) - set(
        standing.shims_standing(after.catalogue)
    )
    for shim in sorted(lost):
        yield shim, f"the shim {shim} is gone"
    for table, was in before.digests.items():
        now = after.digests.get(table)
        if now is None:
            yield table, f"{table} is not there, or lacks columns"
        elif now.rows != was.rows:
            yield table, f"{table} has {now.rows:,} rows, and had {was.rows:,}"
        elif now.value != was.value:
            yield table, f"rows of {table} hold something else"


def _end(session: Session, table: str) -> int:
    """Return the first key that is free; the steps write their rows from there on."""
    bounds = digest.key_bounds(session, table)
    return bounds[1] + 1 if bounds else 0
