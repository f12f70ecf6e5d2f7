"""One revision file, parsed and never imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opssight_migrate.static.found import Found, unread
from opssight_migrate.static.literals import UnresolvedError, value_of

_LOOKS_LIKE_ONE = re.compile(r"^(down_)?revision\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A revision as its file states it. ``parents`` are its down_revisions, none for a base.

    ``lines`` tells on which line a module-level name is set, ``values`` what those that can be
    read are.
    """

    path: Path
    text: str
    tree: ast.Module
    revision: str
    parents: tuple[str, ...]
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    @property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions of the module."""
        return {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    def line_of(self, name: str) -> int:
        """Return where a module-level name is set; 1 where it is not."""
        return self.lines.get(name, 1)


def parse(path: Path, text: str) -> tuple[Source | None, list[Found]]:
    """Return the revision of a file (None if it is none), and what is wrong with the file."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return None, [
            Found(
                rule="unreadable-revision",
                message=f"no Python: {error.msg}",
                path=path,
                line=error.lineno or 1,
                hint="correct the syntax: alembic cannot load the chain either",
            )
        ]
    values, lines = _module_level(tree)
    if "revision" not in lines:
        if _LOOKS_LIKE_ONE.search(text):
            return None, [unread("a revision whose id is not set at module level", path, 1)]
        return None, []
    revision = values.get("revision")
    parents = _parents(values.get("down_revision", ...))
    if not isinstance(revision, str) or parents is None:
        name = "revision" if not isinstance(revision, str) else "down_revision"
        return None, [
            Found(
                rule="unreadable-revision",
                message=f"{name} is not written out as text",
                path=path,
                line=lines.get(name, 1),
                hint=f'write {name} = "…"',
            )
        ]
    source = Source(
        path=path,
        text=text,
        tree=tree,
        revision=revision,
        parents=parents,
        values=values,
        lines=lines,
    )
    return source, []


def _module_level(tree: ast.Module) -> tuple[dict[str, Any], dict[str, int]]:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        lines[name] = node.lineno
        try:
            values[name] = value_of(value, values)
        except UnresolvedError:
            values.pop(name, None)
    return values, lines


def _parents(value: Any) -> tuple[str, ...] | None:
    """Return the down_revision as a tuple; None where it cannot be read."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
        return value
    return None
