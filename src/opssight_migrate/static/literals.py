"""The value of an expression that is written out in a file, found without running it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from typing import Any

# What wraps a literal without changing what it says.
_TRANSPARENT = {"text", "SQL", "literal_column", "LiteralString"}


class UnresolvedError(Exception):
    """The value is known only when the program runs."""


def value_of(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return what ``node`` is, ``known`` being the names that have a value.

    Raises: UnresolvedError, where that takes more than reading.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            return tuple(value_of(element, known) for element in elements)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {
                value_of(key, known): value_of(value, known)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case ast.JoinedStr(values=parts):
            return "".join(_formatted(part, known) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _sum(value_of(left, known), value_of(right, known))
        case ast.Call():
            return _call(node, known)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value_of(operand, known)
        case _:
            raise UnresolvedError


def _formatted(part: ast.expr, known: Mapping[str, Any]) -> str:
    if isinstance(part, ast.FormattedValue):
        if part.format_spec is not None or part.conversion != -1:
            raise UnresolvedError
        return str(value_of(part.value, known))
    return str(value_of(part, known))


def _sum(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(left, tuple) and isinstance(right, tuple):
        return left + right
    raise UnresolvedError


def _call(node: ast.Call, known: Mapping[str, Any]) -> Any:
    name = called(node)
    if name in _TRANSPARENT and len(node.args) == 1:
        return value_of(node.args[0], known)
    if name == "dedent" and len(node.args) == 1:
        return textwrap.dedent(str(value_of(node.args[0], known)))
    if not isinstance(node.func, ast.Attribute):
        raise UnresolvedError
    inner = node.func.value
    if name in ("bindparams", "execution_options"):
        return value_of(inner, known)
    value = value_of(inner, known)
    if isinstance(value, dict) and name in ("items", "keys", "values") and not node.args:
        return tuple(getattr(value, name)())
    if isinstance(value, str) and name in ("strip", "lower", "upper") and not node.args:
        return getattr(value, name)()
    if isinstance(value, str) and name == "format":
        return _filled(value, node, known)
    raise UnresolvedError


def _filled(pattern: str, node: ast.Call, known: Mapping[str, Any]) -> str:
    given = [value_of(one, known) for one in node.args]
    named = {one.arg: value_of(one.value, known) for one in node.keywords if one.arg}
    try:
        return pattern.format(*given, **named)
    except (LookupError, ValueError, AttributeError):
        raise UnresolvedError from None


def called(node: ast.Call) -> str:
    """Return the last part of what is called: "execute" for ``op.get_bind().execute()``."""
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def root(node: ast.expr) -> str | None:
    """Return the name at which an expression such as ``a.b(c).d`` begins."""
    while True:
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case ast.Name(id=name):
                return name
            case _:
                return None
