"""What a downgrade takes away: the tables, columns and types that its revision had brought."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.revisions import REVISIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """One revision's own; ``columns`` are those that it added to tables that were there."""

    revision: str
    tables: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    enums: tuple[str, ...]

    @property
    def tables_touched(self) -> tuple[str, ...]:
        """The tables that the downgrade locks for its own sake."""
        return (*self.tables, *dict.fromkeys(table for table, _ in self.columns))


@cache
def going_with(revision: str) -> Going:
    """Return what undoing a step takes away; of a data step nothing: its revision does."""
    known = [one.id for one in REVISIONS]
    if revision not in known:
        return Going(revision=revision, tables=(), columns=(), enums=())
    place = known.index(revision)
    after = golden(revision)
    before = golden(REVISIONS[place - 1].id) if place else None
    old_tables = before["tables"] if before else {}
    old_enums = before["enums"] if before else {}
    columns = [
        (name, column["name"])
        for name, table in after["tables"].items()
        if name in old_tables
        for column in table["columns"]
        if all(column["name"] != old["name"] for old in old_tables[name]["columns"])
    ]
    return Going(
        revision=revision,
        tables=tuple(name for name in after["tables"] if name not in old_tables),
        columns=tuple(columns),
        enums=tuple(name for name in after["enums"] if name not in old_enums),
    )


@cache
def golden_names(revision: str) -> frozenset[str]:
    """Return the names of all indexes and constraints that OpsSight itself has at a revision."""
    names: set[str] = set()
    for table in golden(revision)["tables"].values():
        names |= {index["name"] for index in table["indexes"]}
        names |= {key["name"] for key in table["foreign_keys"]}
        names |= {key["name"] for key in table["unique_constraints"]}
        names |= {check["name"] for check in table["check_constraints"]}
    return frozenset(names)
