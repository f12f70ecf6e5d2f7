"""What upgrade() does, in its order: Alembic's operations and literal SQL become changes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from opssight_migrate.static import operations
from opssight_migrate.static.change import Change, changes_of
from opssight_migrate.static.found import Found, unread
from opssight_migrate.static.literals import UnresolvedError, called, root, value_of
from opssight_migrate.static.source import Source
from opssight_migrate.static.sql import statements

_DEPTH = 8
_OWN = "opssight_migrate"
# Packages whose calls change nothing by themselves, or are Alembic's own, which is read.
_UNDERSTOOD = {"alembic", "sqlalchemy", "psycopg", _OWN, *sys.stdlib_module_names}
_TABLES_OF_OURS = {"NewTable", "tables_of"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Literal SQL of a revision. ``line`` is that of its first line in the file; the others
    follow it there where ``is_plain``.
    """

    sql: str
    line: int
    is_plain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """All that was read of one revision's upgrade()."""

    changes: list[Change] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    unread: list[Found] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    known: dict[str, Any]
    batch: dict[str, str | None]
    in_transaction: bool = True
    depth: int = 0


def walk(source: Source) -> Walked:
    """Read upgrade() and the functions of the same file that it calls."""
    walker = _Walker(source)
    upgrade = source.functions.get("upgrade")
    if upgrade is not None:
        walker.tables_of_ours()
        walker.body(upgrade.body, _Scope(known=dict(source.values), batch={}))
    walker.walked.unread.sort(key=lambda found: found.line)
    return walker.walked


class _Walker:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.walked = Walked()
        self.functions = source.functions
        self.imported = dict(_imports(source.tree))
        self._said: set[tuple[int, str]] = set()
        self._constants = {
            node.value.value: node.value.lineno
            for node in source.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        }

    def tables_of_ours(self) -> None:
        """Read the SQL that opssight_migrate's own revisions hand to NewTable and tables_of."""
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Call) and called(node) in _TABLES_OF_OURS:
                if self.imported.get(called(node)) != _OWN:
                    continue
                self._sql(node.args[-1], node, _Scope(known=dict(self.source.values), batch={}))

    def body(self, nodes: Iterable[ast.stmt], scope: _Scope) -> None:
        for node in nodes:
            self._statement(node, scope)

    def _statement(self, node: ast.stmt, scope: _Scope) -> None:
        match node:
            case ast.For(target=target, iter=iterated, body=inner, orelse=otherwise):
                self._expressions(iterated, scope)
                for names in self._turns(target, iterated, scope):
                    self.body(inner, replace(scope, known=names))
                self.body(otherwise, scope)
            case ast.With(items=items, body=inner):
                for item in items:
                    scope = self._entered(item, scope)
                self.body(inner, scope)
            case ast.If(test=test, body=inner, orelse=otherwise):
                self._expressions(test, scope)
                self.body(inner, scope)
                self.body(otherwise, scope)
            case ast.While(body=inner) | ast.ExceptHandler(body=inner):
                self.body(inner, scope)
            case ast.Try(body=inner, orelse=otherwise, finalbody=final, handlers=handlers):
                self.body([*inner, *otherwise, *final], scope)
                for handler in handlers:
                    self.body(handler.body, scope)
            case ast.FunctionDef(name=name):
                self.functions = {**self.functions, name: node}
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._expressions(value, scope)
                self._learn(name, value, scope)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._expressions(child, scope)

    def _learn(self, name: str, value: ast.expr, scope: _Scope) -> None:
        try:
            scope.known[name] = value_of(value, scope.known)
        except UnresolvedError:
            scope.known.pop(name, None)

    def _turns(
        self, target: ast.expr, iterated: ast.expr, scope: _Scope
    ) -> Iterator[dict[str, Any]]:
        """Yield the names of each turn of a loop; one turn without them where it is not known."""
        names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
        outside = {k: v for k, v in scope.known.items() if k not in names}
        try:
            values = value_of(iterated, scope.known)
        except UnresolvedError:
            yield outside
            return
        for value in values if isinstance(values, tuple) else tuple(values or ()):
            if isinstance(target, ast.Name):
                yield {**outside, target.id: value}
            elif isinstance(value, tuple) and len(value) == len(names):
                yield {**outside, **dict(zip(names, value, strict=True))}
            else:
                yield outside

    def _entered(self, item: ast.withitem, scope: _Scope) -> _Scope:
        call = item.context_expr
        if not isinstance(call, ast.Call):
            return scope
        if called(call) == "autocommit_block":
            return replace(scope, in_transaction=False)
        if called(call) == "batch_alter_table" and isinstance(item.optional_vars, ast.Name):
            table = operations.text(call, 0, "table_name", scope.known)
            return replace(scope, batch={**scope.batch, item.optional_vars.id: table})
        self._expressions(call, scope)
        return scope

    def _expressions(self, node: ast.expr, scope: _Scope) -> None:
        """Read the calls of an expression, the inner ones before the outer ones."""
        is_core = isinstance(node, ast.Call) and operations.is_core(node)
        for child in ast.iter_child_nodes(node) if not is_core else ():
            if isinstance(child, ast.expr):
                self._expressions(child, scope)
            elif isinstance(child, ast.keyword):
                self._expressions(child.value, scope)
        if isinstance(node, ast.Call) and not is_core:
            self._call(node, scope)

    def _call(self, node: ast.Call, scope: _Scope) -> None:
        name, start = called(node), root(node.func)
        is_method = isinstance(node.func, ast.Attribute)
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if isinstance(owner, ast.Name) and (self._is_op(owner.id) or owner.id in scope.batch):
            self._operation(node, name, owner.id, scope)
        elif is_method and name in ("execute", "scalar", "scalars", "exec_driver_sql"):
            self._execute(node, scope)
        elif is_method and start == "ddl":
            self._ddl(node, name, scope)
        elif isinstance(node.func, ast.Name) and name in self.functions:
            self._follow(node, self.functions[name], scope)
        elif start in self.imported and self.imported[start] not in _UNDERSTOOD:
            self._unread(f"{ast.unparse(node.func)}() comes from another file", node)
        elif isinstance(node.func, ast.Name) and name in ("getattr", "exec", "eval"):
            self._unread(f"{name}() decides while it runs", node)

    def _is_op(self, name: str) -> bool:
        return name == "op" and self.imported.get("op", "alembic") == "alembic"

    def _operation(self, node: ast.Call, name: str, owner: str, scope: _Scope) -> None:
        if name == "execute":
            self._execute(node, scope)
            return
        in_batch = owner in scope.batch
        try:
            found = operations.changes_of(
                node, name, scope.known, batch=(scope.batch[owner],) if in_batch else None
            )
        except UnresolvedError as why:
            self._unread(str(why) or f"op.{name}() has arguments that cannot be read", node)
            return
        self.walked.changes.extend([replace(c, in_transaction=scope.in_transaction) for c in found])

    def _ddl(self, node: ast.Call, name: str, scope: _Scope) -> None:
        """Read what our own online DDL is asked for: whatever does not contract is online."""
        if name in ("drop_table", "drop_column"):
            self.walked.changes.append(
                Change(
                    kind=name,
                    line=node.lineno,
                    table=operations.text(node, 0, "table", scope.known),
                    name=operations.text(node, 1, "column", scope.known),
                )
            )
        elif name == "expand" and node.args:
            function = self.functions.get(root(node.args[0]) or "")
            if function is not None:
                self._follow(node, function, scope)

    def _follow(self, node: ast.Call, function: ast.FunctionDef, scope: _Scope) -> None:
        if scope.depth >= _DEPTH:
            self._unread(f"{function.name}() calls itself", node)
            return
        names = [argument.arg for argument in function.args.args]
        known = {k: v for k, v in scope.known.items() if k not in names}
        given = [*zip(names, node.args, strict=False)]
        given += [(one.arg, one.value) for one in node.keywords if one.arg]
        for name, value in given:
            try:
                known[name] = value_of(value, scope.known)
            except UnresolvedError:
                continue
        self.body(function.body, replace(scope, known=known, depth=scope.depth + 1))

    def _execute(self, node: ast.Call, scope: _Scope) -> None:
        if not node.args:
            return
        if (change := operations.rows_written(node.args[0])) is not None:
            self.walked.changes.append(change)
        elif not operations.is_core(node.args[0]):
            self._sql(node.args[0], node, scope)

    def _sql(self, argument: ast.expr, node: ast.Call, scope: _Scope) -> None:
        try:
            text = value_of(argument, scope.known)
        except UnresolvedError:
            text = None
        if not isinstance(text, str):
            self._unread(f"SQL that is put together: {ast.unparse(argument)[:60]}", node)
            return
        first, is_plain = self._lines_of(argument, text)
        line = first if is_plain else node.lineno
        self.walked.texts.append(Text(sql=text, line=line, is_plain=is_plain))
        for statement in statements(text):
            place = first + statement.line if is_plain else node.lineno
            if statement.tokens[0].text in ("DO", "CALL"):
                self._said_once(f"the body of {statement.tokens[0].text} is not read", place)
            self.walked.changes.extend(
                changes_of(statement, place, in_transaction=scope.in_transaction)
            )

    def _lines_of(self, argument: ast.expr, text: str) -> tuple[int, bool]:
        """Return the first line of a text, and whether its lines are those of the file."""
        if (line := self._constants.get(text)) is not None:
            return line, True
        inner = next(
            (n for n in ast.walk(argument) if isinstance(n, ast.Constant) and n.value == text), None
        )
        if inner is None:
            return argument.lineno, False
        return inner.lineno, (inner.end_lineno or 0) - inner.lineno == text.count("\n")

    def _unread(self, message: str, node: ast.Call) -> None:
        self._said_once(message, node.lineno)

    def _said_once(self, message: str, line: int) -> None:
        if (line, message) not in self._said:
            self._said.add((line, message))
            self.walked.unread.append(unread(message, self.source.path, line))


def _imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each imported name with the package that it comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                package = one.name.partition(".")[0]
                yield one.asname or package, package
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                package = (node.module or "").partition(".")[0] if node.level == 0 else "."
                yield one.asname or one.name, package
