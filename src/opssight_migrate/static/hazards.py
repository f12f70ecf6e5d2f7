"""What design forbids on a live database, found in the changes of a revision's upgrade()."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opssight_migrate.static.change import Change
from opssight_migrate.static.found import Found

_IN_BATCHES = "whole-table-write"
_PLAIN = {
    "type_change": ("type-change", "changes the type of {}"),
    "drop_column": ("drop-column", "drops {}"),
    "drop_table": ("drop-table", "drops {}"),
    "rename": ("rename", "renames {} or a part of it"),
    "lock_table": ("lock-table", "locks {}"),
    "rewrite": ("table-rewrite", "rewrites {}"),
}


@dataclass(slots=True)
class Checked:
    """The validated CHECKs of the chain so far: (table, column) of those that say NOT NULL."""

    columns: set[tuple[str | None, str]] = field(default_factory=set)
    _named: dict[tuple[str | None, str | None], frozenset[str]] = field(default_factory=dict)

    def learn(self, change: Change) -> None:
        """Take down a CHECK, or its validation."""
        if change.kind == "add_check":
            self._named[change.table, change.name] = change.not_null_columns
            if not change.not_valid:
                self.columns |= {(change.table, column) for column in change.not_null_columns}
        elif change.kind == "validate":
            columns = self._named.get((change.table, change.name), frozenset())
            self.columns |= {(change.table, column) for column in columns}


def findings(path: Path, changes: Sequence[Change], checked: Checked) -> Iterator[Found]:
    """Yield what would hurt a live database; tables made in the same revision are nobody's yet."""
    made: set[str | None] = set()
    for change in changes:
        if change.kind == "create_table":
            made.add(change.table)
        elif change.table is None or change.table not in made:
            for rule, message in _hazards(change, checked):
                yield Found(rule=rule, message=message, path=path, line=change.line)
        checked.learn(change)


def _hazards(change: Change, checked: Checked) -> Iterator[tuple[str, str]]:
    of = change.table or "a table"
    what = f"{change.table}.{change.name}" if change.table and change.name else of
    if change.kind in _PLAIN:
        rule, sentence = _PLAIN[change.kind]
        yield rule, sentence.format(of if change.kind in ("rename", "lock_table") else what)
    elif change.kind in ("create_index", "drop_index", "reindex"):
        yield from _index(change)
    elif change.kind == "add_column":
        yield from _column(change, what)
    elif change.kind == "set_not_null" and (change.table, change.name) not in checked.columns:
        yield "set-not-null-without-check", f"reads all of {of} to see that {what} has no NULL"
    elif change.kind in ("add_foreign_key", "add_check") and not change.not_valid:
        kind = "foreign key" if change.kind == "add_foreign_key" else "CHECK"
        yield "constraint-validates", f"adds a {kind} to {of} that is validated at once"
    elif change.kind == "add_unique" and not change.uses_index:
        yield "unique-without-index", f"builds the index of a constraint on {of} at once"
    elif change.kind == "write_rows" and change.whole:
        yield _IN_BATCHES, f"writes all rows of {of} in one statement"


def _index(change: Change) -> Iterator[tuple[str, str]]:
    verb = {"create_index": "builds", "drop_index": "drops", "reindex": "rebuilds"}[change.kind]
    what = f"index {change.name}" if change.name else "an index"
    on = f" of {change.table}" if change.table else ""
    if not change.concurrently:
        yield "index-not-concurrent", f"{verb} {what}{on} while nobody may write"
    elif change.in_transaction:
        yield "concurrently-in-transaction", f"{verb} {what} CONCURRENTLY inside a transaction"


def _column(change: Change, what: str) -> Iterator[tuple[str, str]]:
    if change.is_volatile:
        yield "volatile-default", f"{what} gets a value of its own in each row"
    elif change.not_null and not change.has_default:
        yield "not-null-without-default", f"{what} is NOT NULL and has no default"
    if change.references and change.has_default:
        yield "constraint-validates", f"{what} has a default, so its foreign key is validated"
