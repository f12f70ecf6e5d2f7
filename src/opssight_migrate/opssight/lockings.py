"""Which tables a revision locks against others, up and down, read off the golden catalogues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from opssight_migrate.model.plan import PromisedLock
from opssight_migrate.opssight.goings import Going, going_with
from opssight_migrate.opssight.golden import ForeignKey, golden


def locked_up(revision: str) -> tuple[PromisedLock, ...]:
    """Return the locks that an upgrade takes on tables that were there before it.

    A column is added behind ACCESS EXCLUSIVE. A foreign key that is added NOT VALID stops the
    writers of both its tables, no readers. Of several locks on one table the strongest stands.
    """
    going = going_with(revision)
    altered = dict.fromkeys(table for table, _ in going.columns)
    linked = [name for table, key in _new_keys(going) for name in (table, key["references"])]
    return (
        *(PromisedLock(relation=table) for table in altered),
        *(
            PromisedLock(relation=table, mode="SHARE ROW EXCLUSIVE")
            for table in sorted(set(linked) - {*going.tables, *altered})
        ),
    )


def locked_down(revision: str) -> tuple[PromisedLock, ...]:
    """Return the locks that a downgrade takes; a foreign key that goes locks both its tables."""
    going = going_with(revision)
    linked = (key["references"] for _, key in _new_keys(going))
    names = dict.fromkeys((*going.tables_touched, *sorted(linked)))
    return tuple(PromisedLock(relation=name) for name in names)


def narrowed(locks: Iterable[PromisedLock], there: Iterable[str]) -> tuple[PromisedLock, ...]:
    """Return those locks whose table is there."""
    known = frozenset(there)
    return tuple(lock for lock in locks if lock.relation in known)


def _new_keys(going: Going) -> Iterator[tuple[str, ForeignKey]]:
    columns = frozenset(going.columns)
    for name, table in golden(going.revision)["tables"].items():
        for key in table["foreign_keys"]:
            if name in going.tables or any((name, column) in columns for column in key["columns"]):
                yield name, key
