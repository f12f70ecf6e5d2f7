"""The SQL that makes an altered object golden again, where that is simple and safe online."""

from __future__ import annotations

from collections.abc import Sequence as Many

from psycopg import sql

from opssight_migrate.opssight.golden import Column, Sequence

# Room for a suffix in the server's 63 bytes.
_NAME_BYTES = 50


def missing_constraint(table: str, name: str, definition: str) -> str:
    """Return how to add a foreign key or check without stopping anybody for its scan."""
    return _script(
        f"ALTER TABLE {_quoted(table)} ADD CONSTRAINT {_quoted(name)} {definition} NOT VALID",
        _validate(table, name),
    )


def altered_constraint(table: str, name: str, definition: str, *, only_unvalidated: bool) -> str:
    """Return how to give a foreign key or check its golden definition."""
    if only_unvalidated:
        return _script(_validate(table, name))
    return _script(
        f"ALTER TABLE {_quoted(table)} DROP CONSTRAINT {_quoted(name)},"
        f" ADD CONSTRAINT {_quoted(name)} {definition} NOT VALID",
        _validate(table, name),
    )


def missing_key(table: str, name: str, columns: Many[str], kind: str) -> str:
    """Return how to add a key (UNIQUE or PRIMARY KEY) whose index is built online."""
    listed = ", ".join(_quoted(column) for column in columns)
    return _script(
        f"CREATE UNIQUE INDEX CONCURRENTLY {_quoted(name)} ON {_quoted(table)} ({listed})",
        f"ALTER TABLE {_quoted(table)} ADD CONSTRAINT {_quoted(name)} {kind}"
        f" USING INDEX {_quoted(name)}",
    )


def renamed_constraint(table: str, name: str, found: str) -> str:
    """Return how to give a constraint its golden name; its index follows."""
    return _script(
        f"ALTER TABLE {_quoted(table)} RENAME CONSTRAINT {_quoted(found)} TO {_quoted(name)}"
    )


def missing_index(definition: str) -> str:
    """Return how to build an index online."""
    return _script(_online(definition))


def renamed_index(name: str, found: str) -> str:
    """Return how to give an index its golden name."""
    return _script(f"ALTER INDEX {_quoted(found)} RENAME TO {_quoted(name)}")


def altered_index(name: str, definition: str, *, only_invalid: bool) -> str:
    """Return how to give an index its golden definition; the old one serves until then."""
    if only_invalid:
        return _script(f"REINDEX INDEX CONCURRENTLY {_quoted(name)}")
    aside = f"{name[:_NAME_BYTES]}_altered"
    return _script(
        f"ALTER INDEX {_quoted(name)} RENAME TO {_quoted(aside)}",
        _online(definition),
        f"DROP INDEX CONCURRENTLY {_quoted(aside)}",
    )


def missing_column(table: str, column: Column) -> str | None:
    """Return how to add a column that may be empty; its values are lost either way."""
    if not column["nullable"] or column["default"] is not None:
        return None
    return _script(
        f"ALTER TABLE {_quoted(table)} ADD COLUMN {_quoted(column['name'])} {column['type']}"
    )


def altered_column(table: str, column: Column, part: str) -> str | None:
    """Return how to give a column's default or nullability back; no type is ever changed."""
    alter = f"ALTER TABLE {_quoted(table)} ALTER COLUMN {_quoted(column['name'])}"
    if part == "default":
        default = column["default"]
        return _script(
            f"{alter} DROP DEFAULT" if default is None else f"{alter} SET DEFAULT {default}"
        )
    if part != "nullable":
        return None
    if column["nullable"]:
        return _script(f"{alter} DROP NOT NULL")
    # A valid check spares SET NOT NULL its scan under ACCESS EXCLUSIVE.
    check = f"{column['name'][:_NAME_BYTES]}_not_null"
    return _script(
        f"ALTER TABLE {_quoted(table)} ADD CONSTRAINT {_quoted(check)}"
        f" CHECK ({_quoted(column['name'])} IS NOT NULL) NOT VALID",
        _validate(table, check),
        f"{alter} SET NOT NULL",
        f"ALTER TABLE {_quoted(table)} DROP CONSTRAINT {_quoted(check)}",
    )


def missing_enum(name: str, labels: Many[str]) -> str:
    """Return how to create an enum."""
    listed = ", ".join(_literal(label) for label in labels)
    return _script(f"CREATE TYPE {_quoted(name)} AS ENUM ({listed})")


def missing_label(name: str, labels: Many[str], label: str, present: Many[str]) -> str:
    """Return how to put a label in its golden place; earlier labels are there by then."""
    place = labels.index(label)
    if place:
        where = f" AFTER {_literal(labels[place - 1])}"
    else:
        where = f" BEFORE {_literal(present[0])}" if present else ""
    return _script(f"ALTER TYPE {_quoted(name)} ADD VALUE {_literal(label)}{where}")


def altered_sequence(name: str, golden: Sequence, part: str) -> str | None:
    """Return how to give a sequence's owner, start or step back; its range takes judgement."""
    alter = f"ALTER SEQUENCE {_quoted(name)}"
    if part == "owned_by":
        owner = golden["owned_by"]
        target = "NONE" if owner is None else ".".join(map(_quoted, owner.split(".", 1)))
        return _script(f"{alter} OWNED BY {target}")
    if part == "increment":
        return _script(f"{alter} INCREMENT BY {golden['increment']}")
    if part == "start":
        return _script(f"{alter} START WITH {golden['start']}")
    if part == "cycle":
        return _script(f"{alter} {'CYCLE' if golden['cycle'] else 'NO CYCLE'}")
    return None


def _validate(table: str, name: str) -> str:
    return f"ALTER TABLE {_quoted(table)} VALIDATE CONSTRAINT {_quoted(name)}"


def _online(definition: str) -> str:
    return definition.replace("INDEX ", "INDEX CONCURRENTLY ", 1)


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _script(*statements: str) -> str:
    return "\n".join(f"{statement};" for statement in statements)
