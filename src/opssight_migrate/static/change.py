"""What one statement of a revision does to the database, however it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from opssight_migrate.static.sql import Reader, Statement, Token, has, split_at_commas

# A default that differs from row to row makes PostgreSQL rewrite the table; now() does not.
_VOLATILE = re.compile(
    r"\b(random|gen_random_uuid|uuid_generate_v\w+|uuidv[47]|clock_timestamp|timeofday|nextval)\b",
    re.IGNORECASE,
)
_SERIAL = {"SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL4", "SERIAL8", "SERIAL2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change. ``kind`` says which; the other facts are those that the rules ask about.

    ``table`` is None where it cannot be read; ``has_default`` speaks of a new column, ``whole``
    of rows written without a bound.
    """

    kind: str
    line: int
    table: str | None = None
    name: str | None = None
    concurrently: bool = False
    in_transaction: bool = True
    not_valid: bool = False
    not_null: bool = False
    has_default: bool = False
    is_volatile: bool = False
    references: bool = False
    uses_index: bool = False
    whole: bool = False
    not_null_columns: frozenset[str] = field(default=frozenset())


def is_volatile(expression: str) -> bool:
    """Tell whether a default is computed for each row."""
    return _VOLATILE.search(expression) is not None


def changes_of(statement: Statement, line: int, *, in_transaction: bool) -> Iterator[Change]:
    """Yield what a statement changes; nothing for one that concerns no rule."""
    for change in _changes(Reader(statement.tokens), line):
        yield replace(change, in_transaction=in_transaction)


def _changes(reader: Reader, line: int) -> Iterator[Change]:
    tokens = reader.rest
    if reader.takes("ALTER TABLE"):
        yield from _alter_table(reader, line)
    elif reader.takes("CREATE UNIQUE INDEX") or reader.takes("CREATE INDEX"):
        concurrently = reader.takes("CONCURRENTLY")
        reader.skip("IF NOT EXISTS")
        name = None if reader.takes("ON") else reader.name()
        reader.skip("ON", "ONLY")
        table = reader.name()
        yield Change(
            kind="create_index", line=line, table=table, name=name, concurrently=concurrently
        )
    elif reader.takes("DROP INDEX"):
        concurrently = reader.takes("CONCURRENTLY")
        reader.skip("IF EXISTS")
        yield Change(kind="drop_index", line=line, name=reader.name(), concurrently=concurrently)
    elif reader.takes("CREATE"):
        reader.skip("UNLOGGED", "TEMPORARY", "TEMP", "LOCAL", "GLOBAL")
        if reader.takes("TABLE"):
            reader.skip("IF NOT EXISTS")
            yield Change(kind="create_table", line=line, table=reader.name())
    elif reader.takes("DROP TABLE"):
        reader.skip("IF EXISTS")
        yield Change(kind="drop_table", line=line, table=reader.name())
    elif reader.takes("LOCK"):
        reader.skip("TABLE", "ONLY")
        yield Change(kind="lock_table", line=line, table=reader.name())
    elif reader.takes("TRUNCATE"):
        reader.skip("TABLE", "ONLY")
        yield Change(kind="write_rows", line=line, table=reader.name(), whole=True)
    elif reader.takes("REINDEX"):
        yield Change(kind="reindex", line=line, concurrently=has(tokens, "CONCURRENTLY"))
    elif reader.takes("CLUSTER") or (reader.takes("VACUUM") and has(tokens, "FULL")):
        yield Change(kind="rewrite", line=line)
    else:
        yield from _writes(tokens, line)


def _writes(tokens: Sequence[Token], line: int) -> Iterator[Change]:
    """Yield the rows that UPDATE and DELETE write, also behind WITH."""
    if tokens[0].text not in ("UPDATE", "DELETE", "WITH"):
        return
    for place, token in enumerate(tokens):
        before = tokens[place - 1].text if place else "("
        starts = token.kind == "word" and before in ("(", ")")
        if starts and token.text in ("UPDATE", "DELETE"):
            reader = Reader(tokens[place + 1 :])
            reader.skip("FROM", "ONLY")
            yield Change(
                kind="write_rows", line=line, table=reader.name(), whole=_is_unbounded(reader.rest)
            )


def _is_unbounded(tokens: Sequence[Token]) -> bool:
    """Tell whether a WHERE, if there is one, does no more than look for NULLs."""
    where = next((n for n, t in enumerate(tokens) if t.text == "WHERE" and t.kind == "word"), None)
    if where is None:
        return True
    return not any(
        token.text in ("=", "<", ">", "IN", "EXISTS", "LIKE", "BETWEEN", "ANY")
        for token in tokens[where:]
    )


def _alter_table(reader: Reader, line: int) -> Iterator[Change]:
    reader.skip("IF EXISTS", "ONLY")
    table = reader.name()
    reader.skip("*")
    for action in split_at_commas(reader.rest):
        if change := _action(Reader(action), action, line, table):
            yield change


def _action(reader: Reader, action: Sequence[Token], line: int, table: str | None) -> Change | None:
    if reader.takes("ADD"):
        return _addition(reader, action, line, table)
    if reader.takes("VALIDATE CONSTRAINT"):
        return Change(kind="validate", line=line, table=table, name=reader.name())
    if reader.takes("RENAME"):
        return Change(kind="rename", line=line, table=table)
    if reader.takes("DROP CONSTRAINT"):
        return None
    if reader.takes("DROP"):
        reader.skip("COLUMN", "IF EXISTS")
        return Change(kind="drop_column", line=line, table=table, name=reader.name())
    if reader.takes("ALTER"):
        reader.skip("COLUMN")
        name = reader.name()
        if reader.takes("SET NOT NULL"):
            return Change(kind="set_not_null", line=line, table=table, name=name)
        if reader.takes("SET DATA TYPE") or reader.takes("TYPE"):
            return Change(kind="type_change", line=line, table=table, name=name)
        return None
    rewrites = ("SET TABLESPACE", "SET LOGGED", "SET UNLOGGED", "SET ACCESS METHOD")
    if any(reader.takes(words) for words in rewrites):
        return Change(kind="rewrite", line=line, table=table)
    return None


_CONSTRAINTS = {
    "CHECK": "add_check",
    "FOREIGN KEY": "add_foreign_key",
    "UNIQUE": "add_unique",
    "PRIMARY KEY": "add_unique",
    "EXCLUDE": "add_unique",
}


def _addition(
    reader: Reader, action: Sequence[Token], line: int, table: str | None
) -> Change | None:
    name = reader.name() if reader.takes("CONSTRAINT") else None
    for words, kind in _CONSTRAINTS.items():
        if reader.takes(words):
            return Change(
                kind=kind,
                line=line,
                table=table,
                name=name,
                not_valid=has(action, "NOT VALID"),
                uses_index=reader.takes("USING INDEX"),
                not_null_columns=columns_checked(action),
            )
    reader.skip("COLUMN", "IF NOT EXISTS")
    name, rest = reader.name(), reader.rest
    text = " ".join(token.text for token in rest)
    return Change(
        kind="add_column",
        line=line,
        table=table,
        name=name,
        not_null=has(rest, "NOT NULL") or has(rest, "PRIMARY KEY"),
        has_default=has(rest, "DEFAULT") and not has(rest, "DEFAULT NULL"),
        is_volatile=(has(rest, "DEFAULT") and is_volatile(text))
        or has(rest, "GENERATED")
        or any(token.text in _SERIAL for token in rest),
        references=has(rest, "REFERENCES"),
    )


def columns_checked(tokens: Sequence[Token]) -> frozenset[str]:
    """Return the columns of which a CHECK says IS NOT NULL."""
    found = set()
    for place in range(len(tokens) - 3):
        reader = Reader(tokens[place:])
        name = reader.name()
        if name and reader.takes("IS NOT NULL"):
            found.add(name)
    return frozenset(found)
