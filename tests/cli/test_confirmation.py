"""Who may answer the question before a change; everything else fails closed."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
from opssight_migrate.model.errors import (
    ExitCode,
    InterruptedRunError,
    NotConfirmedError,
    Touched,
)
from opssight_migrate.model.plan import DatabaseFacts, Plan

PLAN = Plan(
    environment="staging",
    protected=False,
    origin="opssight.toml:3",
    database=DatabaseFacts(
        host="db",
        port=5432,
        name="opssight",
        user="app",
        server_version="16.4",
        system_identifier="7",
        database_oid=5,
    ),
    revision_from=None,
    revision_to="80bd6a3c3fa1",
    steps=(),
)
PROTECTED = replace(PLAN, environment="production", protected=True)
AGAIN = "opssight-migrate migrate -e staging"


def ask(
    plan: Plan,
    *,
    is_copy: bool = False,
    yes: bool = False,
    name: str | None = None,
    can_ask: bool = False,
) -> list[Plan]:
    """Answer as the options say, and return the plans that were shown for a question."""
    shown: list[Plan] = []
    Confirmation(
        verb="Migrate", yes=yes, name=name, can_ask=can_ask, again=AGAIN, show=shown.append
    )(plan, is_copy)
    return shown


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a person types at the question."""
    keyboard = io.StringIO()
    monkeypatch.setattr(sys, "stdin", keyboard)
    return keyboard


def types(keyboard: io.StringIO, text: str) -> None:
    keyboard.write(text)
    keyboard.seek(0)


def test_yes_answers_for_an_open_environment() -> None:
    assert ask(PLAN, yes=True) == []


@pytest.mark.parametrize("plan", [PLAN, PROTECTED])
@pytest.mark.parametrize("is_copy", [False, True])
def test_the_environments_name_as_an_option_answers_for_all(plan: Plan, is_copy: bool) -> None:
    assert ask(plan, is_copy=is_copy, name=plan.environment) == []


@pytest.mark.parametrize("plan", [PLAN, PROTECTED])
def test_another_name_is_refused_even_with_yes(plan: Plan) -> None:
    with pytest.raises(NotConfirmedError, match="--confirm says") as refused:
        ask(plan, name="other", yes=True, can_ask=True)
    assert refused.value.hint == f"{AGAIN} --confirm {plan.environment}"


def test_an_empty_name_is_another_name() -> None:
    with pytest.raises(NotConfirmedError):
        ask(PLAN, name="", yes=True)


@pytest.mark.parametrize(
    ("plan", "is_copy", "why"),
    [(PROTECTED, False, "is protected"), (PLAN, True, "is a copy"), (PROTECTED, True, "is a copy")],
)
def test_yes_alone_is_refused_for_a_protected_environment_and_for_a_copy(
    plan: Plan, is_copy: bool, why: str
) -> None:
    with pytest.raises(NotConfirmedError, match=why) as refused:
        ask(plan, is_copy=is_copy, yes=True)
    assert "--yes alone does not do" in refused.value.message
    assert refused.value.hint == f"{AGAIN} --confirm {plan.environment}"
    assert refused.value.exit_code is ExitCode.NOT_CONFIRMED
    assert refused.value.touched is Touched.NOTHING


def test_without_an_answer_and_without_a_person_it_is_refused() -> None:
    with pytest.raises(NotConfirmedError) as refused:
        ask(PLAN)
    assert refused.value.hint == f"{AGAIN} --yes"


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " YES \n"])
def test_a_person_says_yes(
    typed: io.StringIO, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    types(typed, answer)
    assert ask(PLAN, can_ask=True) == [PLAN]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Migrate app@db:5432/opssight (staging) as planned? [y/N] "


@pytest.mark.parametrize("answer", ["\n", "n\n", "yep\n", "", "staging\n"])
def test_anything_but_yes_is_no(typed: io.StringIO, answer: str) -> None:
    types(typed, answer)
    with pytest.raises(NotConfirmedError, match="declined"):
        ask(PLAN, can_ask=True)


@pytest.mark.parametrize("yes", [False, True])
def test_a_protected_environment_asks_for_its_typed_name(
    typed: io.StringIO, capsys: pytest.CaptureFixture[str], yes: bool
) -> None:
    types(typed, "production\n")
    assert ask(PROTECTED, can_ask=True, yes=yes) == [PROTECTED]
    assert '"production" is protected.' in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "Production\n", "prod\n", "\n", ""])
def test_a_protected_environment_takes_nothing_but_its_whole_name(
    typed: io.StringIO, answer: str
) -> None:
    types(typed, answer)
    with pytest.raises(NotConfirmedError, match="declined"):
        ask(PROTECTED, can_ask=True, yes=True)


def test_a_copy_is_adopted_by_its_typed_name(typed: io.StringIO) -> None:
    types(typed, "staging\n")
    assert ask(PLAN, is_copy=True, can_ask=True) == [PLAN]


def test_ctrl_c_at_the_question_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def readline(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    with pytest.raises(InterruptedRunError) as interrupted:
        ask(PLAN, can_ask=True)
    assert interrupted.value.touched is Touched.NOTHING
    assert interrupted.value.exit_code is ExitCode.INTERRUPTED


def test_nobody_is_asked_where_nobody_can_see_or_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert can_be_asked(no_input=False)
    assert not can_be_asked(no_input=True)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not can_be_asked(no_input=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not can_be_asked(no_input=False)
    monkeypatch.setattr(sys, "stdin", None)
    assert not can_be_asked(no_input=False)


def test_no_variable_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YES", "CONFIRM", "NO_INPUT", "ALLOW", "MIGRATE_YES", "MIGRATE_CONFIRM"):
        monkeypatch.setenv(f"OPSSIGHT_{name}", "staging")
    with pytest.raises(NotConfirmedError):
        ask(PLAN)
