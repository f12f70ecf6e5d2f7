"""Alembic's operations, as the changes that they make."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opssight_migrate.static.change import Change, columns_checked, is_volatile
from opssight_migrate.static.literals import UnresolvedError, called, root, value_of
from opssight_migrate.static.sql import tokens

# Operations that concern no rule.
_HARMLESS = {
    "batch_alter_table", "bulk_insert", "create_table_comment", "drop_constraint",
    "drop_table_comment", "f", "get_bind", "get_context", "inline_literal",
}  # fmt: skip
_UNIQUE = {"create_unique_constraint", "create_primary_key", "create_exclude_constraint"}
_ROWS = {"update", "delete"}
_READS = {"select", "insert"}


def changes_of(
    node: ast.Call, name: str, known: Mapping[str, Any], *, batch: tuple[str | None] | None
) -> list[Change]:
    """Return what ``op.NAME(…)`` changes; ``batch`` holds the table of batch_alter_table.

    Raises: UnresolvedError, where its arguments decide and cannot be read.
    """
    call = _Call(node, known, batch)
    if name in _HARMLESS:
        return []
    if name in _UNIQUE:
        return [call.change("add_unique", call.table(1), name=call.text(0, "constraint_name"))]
    reader = _READERS.get(name)
    if reader is None:
        raise UnresolvedError(f"op.{name}() is not one of Alembic's own operations")
    return reader(call)


class _Call:
    """The arguments of one operation; a batch operation lacks the table's."""

    def __init__(
        self, node: ast.Call, known: Mapping[str, Any], batch: tuple[str | None] | None
    ) -> None:
        self.node = node
        self.known = known
        self.batch = batch

    def table(self, place: int, keyword: str = "table_name") -> str | None:
        if self.batch is not None:
            return self.batch[0]
        name = text(self.node, place, keyword, self.known)
        schema = text(self.node, 99, "schema", self.known)
        return f"{schema}.{name}" if schema and schema != "public" and name else name

    def text(self, place: int, keyword: str) -> str | None:
        return text(self.node, place, keyword, self.known)

    def after_table(self, place: int) -> int:
        return place if self.batch is None else place - 1

    def flag(self, keyword: str) -> bool:
        """Return a keyword that is true or false; false where it is not given."""
        node = given(self.node, 99, keyword)
        return False if node is None else bool(value_of(node, self.known))

    def change(self, kind: str, table: str | None, **facts: Any) -> Change:
        return Change(kind=kind, line=self.node.lineno, table=table, **facts)


def text(node: ast.Call, place: int, keyword: str, known: Mapping[str, Any]) -> str | None:
    """Return an argument that is text; None where it is not, or cannot be read."""
    argument = given(node, place, keyword)
    if argument is None:
        return None
    if isinstance(argument, ast.Call) and called(argument) == "f" and argument.args:
        argument = argument.args[0]  # op.f("name")
    try:
        value = value_of(argument, known)
    except UnresolvedError:
        return None
    return value if isinstance(value, str) else None


def given(node: ast.Call, place: int, keyword: str) -> ast.expr | None:
    """Return an argument by its place or its name."""
    named = next((one.value for one in node.keywords if one.arg == keyword), None)
    if named is not None:
        return named
    return node.args[place] if place < len(node.args) else None


def _create_index(call: _Call) -> list[Change]:
    return [
        call.change(
            "create_index",
            call.table(1),
            name=call.text(0, "index_name"),
            concurrently=call.flag("postgresql_concurrently"),
        )
    ]


def _drop_index(call: _Call) -> list[Change]:
    return [
        call.change(
            "drop_index",
            call.table(1),
            name=call.text(0, "index_name"),
            concurrently=call.flag("postgresql_concurrently"),
        )
    ]


def _add_column(call: _Call) -> list[Change]:
    column = given(call.node, call.after_table(1), "column")
    if not isinstance(column, ast.Call) or called(column) != "Column":
        raise UnresolvedError("op.add_column() of a column that is made elsewhere")
    table = call.table(0)
    facts = _Call(column, call.known, None)
    default = given(column, 99, "server_default")
    inner = {called(one) for one in column.args if isinstance(one, ast.Call)}
    name = facts.text(0, "name")
    try:
        nullable = given(column, 99, "nullable")
        is_nullable = True if nullable is None else bool(value_of(nullable, call.known))
        primary, unique, index = map(facts.flag, ("primary_key", "unique", "index"))
    except UnresolvedError:
        raise UnresolvedError(
            "op.add_column(): whether NULL is allowed is decided at run time"
        ) from None
    has_default = default is not None and not _is_none(default)
    changes = [
        call.change(
            "add_column",
            table,
            name=name,
            not_null=primary or not is_nullable,
            has_default=has_default,
            is_volatile=bool(inner & {"Identity", "Computed"})
            or (has_default and default is not None and is_volatile(ast.unparse(default))),
            references="ForeignKey" in inner,
        )
    ]
    if unique:
        changes.append(call.change("add_unique", table, name=name))
    elif index:
        changes.append(call.change("create_index", table, name=name))
    return changes


def _alter_column(call: _Call) -> list[Change]:
    table, name = call.table(0), call.text(call.after_table(1), "column_name")
    changes = []
    nullable = given(call.node, 99, "nullable")
    if nullable is not None:
        try:
            if value_of(nullable, call.known) is False:
                changes.append(call.change("set_not_null", table, name=name))
        except UnresolvedError:
            raise UnresolvedError("op.alter_column(): nullable is decided at run time") from None
    if given(call.node, 99, "type_") is not None:
        changes.append(call.change("type_change", table, name=name))
    new_name = given(call.node, 99, "new_column_name")
    if new_name is not None and not _is_none(new_name):
        changes.append(call.change("rename", table))
    return changes


def _check(call: _Call) -> list[Change]:
    condition = call.text(call.after_table(2), "condition") or ""
    return [
        call.change(
            "add_check",
            call.table(1),
            name=call.text(0, "constraint_name"),
            not_valid=call.flag("postgresql_not_valid"),
            not_null_columns=columns_checked(list(tokens(condition))),
        )
    ]


def _foreign_key(call: _Call) -> list[Change]:
    return [
        call.change(
            "add_foreign_key",
            call.table(1, "source_table"),
            name=call.text(0, "constraint_name"),
            not_valid=call.flag("postgresql_not_valid"),
        )
    ]


_READERS: dict[str, Callable[[_Call], list[Change]]] = {
    "create_index": _create_index,
    "drop_index": _drop_index,
    "add_column": _add_column,
    "alter_column": _alter_column,
    "create_check_constraint": _check,
    "create_foreign_key": _foreign_key,
    "create_table": lambda call: [call.change("create_table", call.table(0))],
    "drop_table": lambda call: [call.change("drop_table", call.table(0))],
    "drop_column": lambda call: [
        call.change(
            "drop_column", call.table(0), name=call.text(call.after_table(1), "column_name")
        )
    ],
    "rename_table": lambda call: [call.change("rename", call.table(0, "old_table_name"))],
}


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (None, False)


def rows_written(node: ast.expr) -> Change | None:
    """Return the rows that an UPDATE or DELETE of SQLAlchemy writes; None if it is neither."""
    calls = _chain(node)
    if not calls or called(calls[-1]) not in _ROWS:
        return None
    first = calls[-1]
    target = first.args[0] if first.args else None
    table = target.id if isinstance(target, ast.Name) else root(first)
    bounded = any(called(one) in ("where", "filter", "filter_by") for one in calls)
    return Change(kind="write_rows", line=node.lineno, table=table, whole=not bounded)


def is_core(node: ast.expr) -> bool:
    """Tell whether an expression is a statement of SQLAlchemy, which does nothing by itself."""
    calls = _chain(node)
    return bool(calls) and called(calls[-1]) in _READS | _ROWS


def _chain(node: ast.expr) -> Sequence[ast.Call]:
    """Return the calls of ``a.b().c().d()``, the last one first."""
    calls = []
    while isinstance(node, ast.Call):
        calls.append(node)
        if not isinstance(node.func, ast.Attribute):
            break
        node = node.func.value
    return calls
