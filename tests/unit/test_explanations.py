"""Every code is explained, and the schema that ships is the one that the classes make."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from opssight_migrate.commands.explain import codes, explain
from opssight_migrate.model import errors, explanations
from opssight_migrate.model.errors import MigrateError, UsageError
from opssight_migrate.model.explanations import ADVICE, meaning, published
from opssight_migrate.model.schema import generated, schema_text
from opssight_migrate.static.rules import RULES


def test_no_code_is_missing() -> None:
    declared = {
        one.__dict__["code"]
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, MigrateError)
    }

    assert declared <= set(published())
    assert declared - set(ADVICE) == set()


@pytest.mark.parametrize("code", sorted(published()))
def test_an_explanation_has_a_meaning_an_exit_code_and_a_help(code: str) -> None:
    (told,) = explain(code).diagnostics

    assert meaning(published()[code]) in told.message
    assert f"Exit code {int(published()[code].exit_code)}" in told.message
    assert told.state
    assert told.hint


def test_each_code_that_the_program_says_is_explained() -> None:
    said = {
        code
        for file in Path(explanations.__file__).parents[1].rglob("*.py")
        for code in re.findall(r"code ?= ?\"(OM\d{3})\"", file.read_text("utf-8"))
    }

    assert said - set(published()) == set(explanations.WARNINGS)
    for code in explanations.WARNINGS:
        (told,) = explain(code).diagnostics
        assert told.hint


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_is_explained_too(rule: str) -> None:
    (told,) = explain(rule).diagnostics

    assert told.code == rule
    assert RULES[rule].why in told.message
    assert told.hint == RULES[rule].instead


def test_without_a_code_all_are_listed_and_an_unknown_one_is_refused() -> None:
    assert {one.code for one in explain(None).diagnostics} == set(codes())
    assert explain("om402").diagnostics[0].code == "OM402"
    with pytest.raises(UsageError, match='did you mean "OM402"'):
        explain("OM4022")


def test_the_schema_that_ships_is_current() -> None:
    assert schema_text() == generated(), "run: python -m opssight_migrate.model.schema"
    assert json.loads(schema_text())["title"] == "Report"
