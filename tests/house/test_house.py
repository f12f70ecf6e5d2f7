"""The house rules: what is written is registered, named alike, documented and in its own room."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import opssight_migrate
from opssight_migrate import checks, steps
from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import Check
from opssight_migrate.model import errors
from opssight_migrate.model.errors import ExitCode, MigrateError
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import chain
from opssight_migrate.steps import STEPS
from opssight_migrate.steps.base import BaseStep
from opssight_migrate.steps.schema_at import SchemaAt

SOURCE = Path(opssight_migrate.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts)
MIGRATIONS = sorted((chain.script_location() / "versions").glob("*.py"))
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
REGISTERED: list[BaseStep | Check] = [*STEPS, *CHECKS]
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERBS = ("assign", "copy", "fill", "index", "initialise", "retire", "set", "settle", "split")
_SQL = re.compile(
    r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH \w+ AS|CREATE|ALTER|DROP|SET TRANSACTION)\s"
)
# The last one reads other people's SQL, and sends none.
_ROOMS_WITH_SQL = {"backups", "postgres", "steps", "checks", "static"}
# OpsSight's own data and statements, as text: the sample, and what its releases send.
_FILES_WITH_SQL = {
    "opssight/old_release.py",
    "opssight/queries.py",
    "opssight/sample.py",
    "opssight/sample_activity.py",
    "opssight/sample_people.py",
}


def name_of(path: Path) -> str:
    """Return how a file is called in the reports of these tests."""
    return f"{path.parent.name}/{path.name}"


@cache
def tree_of(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules_of(package: ModuleType) -> list[ModuleType]:
    """Import every module of a package, whether it is registered or not."""
    found = pkgutil.iter_modules(package.__path__)
    return [importlib.import_module(f"{package.__name__}.{one.name}") for one in found]


def classes_of(package: ModuleType, base: type[BaseStep] | type[Check]) -> list[type]:
    """Return the classes below ``base`` that the modules of a package define and can be made."""
    return [
        found
        for module in modules_of(package)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, base)
        and found.__module__ == module.__name__
        and not inspect.isabstract(found)
    ]


def subclasses_of(base: type[MigrateError]) -> Iterator[type[MigrateError]]:
    """Return all classes below ``base`` of the one hierarchy."""
    for found in base.__subclasses__():
        yield found
        yield from subclasses_of(found)


def strings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return every string that is no docstring, with its line."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (id(node) not in docstrings)
        ):
            yield node.lineno, node.value


def test_every_step_that_is_written_is_in_the_list() -> None:
    written = {found for found in classes_of(steps, BaseStep) if found is not SchemaAt}

    assert written == {type(step) for step in STEPS if not isinstance(step, SchemaAt)}


def test_every_revision_is_a_step_once_and_in_its_order() -> None:
    assert [step.id for step in STEPS if isinstance(step, SchemaAt)] == [
        revision.id for revision in revisions.REVISIONS
    ]


def test_a_data_step_stands_behind_the_revision_that_it_needs() -> None:
    order = [step.id for step in STEPS]
    assert all(order.index(step.needs) <= order.index(step.id) for step in STEPS)


def test_every_check_that_is_written_is_in_the_list() -> None:
    assert set(classes_of(checks, Check)) == {type(check) for check in CHECKS}


@pytest.mark.parametrize("thing", REGISTERED, ids=lambda thing: thing.id)
def test_an_id_is_the_name_of_its_file(thing: BaseStep | Check) -> None:
    module = type(thing).__module__.rpartition(".")[2]

    assert _KEBAB.fullmatch(thing.id)
    assert module == ("schema_at" if isinstance(thing, SchemaAt) else thing.id.replace("-", "_"))
    assert thing.title
    assert revisions.is_published(thing.needs)


def test_ids_are_unique() -> None:
    ids = [thing.id for thing in REGISTERED]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "step", [step for step in STEPS if not isinstance(step, SchemaAt)], ids=lambda step: step.id
)
def test_a_step_is_called_by_a_verb(step: BaseStep) -> None:
    assert step.id.split("-")[0] in _VERBS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_check_is_called_by_the_state_that_must_hold(check: Check) -> None:
    assert not check.id.startswith(("check", "verify", "test"))
    assert check.id.split("-")[0] not in _VERBS


def test_each_published_error_has_a_code_of_its_own_and_an_exit_code() -> None:
    published = [
        found for found in subclasses_of(MigrateError) if found.__module__ == errors.__name__
    ]

    codes = [found.__dict__.get("code") for found in published]
    assert None not in codes
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"OM\d{3}", str(code)) for code in codes)
    assert all(found.exit_code in ExitCode for found in published)
    assert all(found.__name__.endswith("Error") for found in subclasses_of(MigrateError))


def test_an_error_exits_with_the_code_of_its_hundred() -> None:
    hundreds = {"OM2": ExitCode.CONNECT, "OM3": ExitCode.REFUSED, "OM4": ExitCode.BUSY}
    published = [f for f in subclasses_of(MigrateError) if f.__module__ == errors.__name__]

    for found in published:
        assert found.exit_code is hundreds.get(found.code[:3], found.exit_code), found


def offenders(rule: Callable[[Path, ast.Module], object], paths: list[Path]) -> dict[str, object]:
    """Return what a rule says against each file, for those against which it says something."""
    said = {name_of(path): rule(path, tree_of(path)) for path in paths}
    return {name: found for name, found in said.items() if found}


def test_a_module_says_in_one_sentence_what_it_is() -> None:
    def rule(path: Path, tree: ast.Module) -> str | None:
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].rstrip()
        return None if first.endswith(".") else f"docstring: {first!r}"

    assert offenders(rule, [*MODULES, *MIGRATIONS]) == {}


def test_what_is_public_has_a_docstring() -> None:
    def rule(path: Path, tree: ast.Module) -> list[str]:
        return [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        ]

    assert offenders(rule, MODULES) == {}


def test_files_stay_short() -> None:
    def rule(path: Path, tree: ast.Module) -> int | None:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        return lines if lines > LONGEST_FILE else None

    assert offenders(rule, [*MODULES, *MIGRATIONS]) == {}


def test_functions_stay_short() -> None:
    def rule(path: Path, tree: ast.Module) -> list[str]:
        return [
            f"{node.name}: {length}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
        ]

    assert offenders(rule, MODULES) == {}


def test_the_files_of_the_chain_are_the_published_revisions() -> None:
    assert {path.stem.split("_")[0] for path in MIGRATIONS} == {
        revision.id for revision in revisions.REVISIONS
    }


def test_sql_stands_only_in_the_rooms_where_it_belongs() -> None:
    def rule(path: Path, tree: ast.Module) -> list[tuple[int, str]]:
        place = path.relative_to(SOURCE)
        if place.parts[0] in _ROOMS_WITH_SQL or place.as_posix() in _FILES_WITH_SQL:
            return []
        return [(line, text[:40]) for line, text in strings_of(tree) if _SQL.match(text)]

    assert offenders(rule, MODULES) == {}


def test_nothing_prints_but_what_shows() -> None:
    def rule(path: Path, tree: ast.Module) -> list[int]:
        if path.relative_to(SOURCE).parts[0] in ("cli", "render"):
            return []
        return [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]

    assert offenders(rule, MODULES) == {}
