"""The question before a change, and who may answer it: a person, or an option, never a variable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from opssight_migrate.cli.sigterm import TerminatedError
from opssight_migrate.model.errors import (
    InterruptedRunError,
    NotConfirmedError,
    TerminatedRunError,
    Touched,
)
from opssight_migrate.model.plan import Plan
from opssight_migrate.render.plan_text import address
from opssight_migrate.render.visible import visible


def can_be_asked(*, no_input: bool) -> bool:
    """Tell whether a person can read a question on stderr and answer it on stdin."""
    if no_input or sys.stdin is None or sys.stdin.closed:
        return False
    return sys.stdin.isatty() and sys.stderr.isatty()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Decides whether a plan was agreed to.

    ``yes`` and ``name`` are --yes and --confirm, ``again`` is the command to type once more,
    ``show`` puts the plan before the eyes of whoever is asked.
    """

    verb: str
    yes: bool
    name: str | None
    can_ask: bool
    again: str
    show: Callable[[Plan], None]

    def __call__(self, plan: Plan, is_copy: bool) -> None:
        """Return if the plan was agreed to.

        Raises: NotConfirmedError if it was not, or nobody could; InterruptedRunError at Ctrl-C.
        """
        if self.name is not None:
            self._agree_by_option(plan, self.name)
        elif plan.protected or is_copy:
            self._agree_by_name(plan, is_copy)
        elif not self.yes:
            self._agree_by_yes(plan)

    def _agree_by_option(self, plan: Plan, name: str) -> None:
        if name != plan.environment:
            raise NotConfirmedError(
                f'--confirm says "{name}", and the environment is "{plan.environment}"',
                hint=f"{self.again} --confirm {plan.environment}",
            )

    def _agree_by_name(self, plan: Plan, is_copy: bool) -> None:
        why = (
            f'this database is a copy of the one known as "{plan.environment}"'
            if is_copy
            else f'"{plan.environment}" is protected'
        )
        if not self.can_ask:
            alone = "; --yes alone does not do" if self.yes else ""
            raise NotConfirmedError(
                f"{why}: its name has to be given{alone}",
                hint=f"{self.again} --confirm {plan.environment}",
            )
        self.show(plan)
        question = (
            f"{why[0].upper()}{why[1:]}.\n"
            f"{self.verb} {visible(address(plan.database))} as planned? "
            f"Type the environment's name: "
        )
        if self._answer(question) != plan.environment:
            raise NotConfirmedError("declined: another name was typed", hint=self.again)

    def _agree_by_yes(self, plan: Plan) -> None:
        if not self.can_ask:
            raise NotConfirmedError(
                "nobody can answer whether to go on",
                hint=f"{self.again} --yes",
            )
        self.show(plan)
        target = f"{address(plan.database)} ({plan.environment})"
        if self._answer(f"{self.verb} {target} as planned? [y/N] ").lower() not in ("y", "yes"):
            raise NotConfirmedError("declined", hint=self.again)

    def _answer(self, question: str) -> str:
        sys.stderr.write(question)
        sys.stderr.flush()
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt as interruption:
            sys.stderr.write("\n")
            is_sigterm = isinstance(interruption, TerminatedError)
            kind = TerminatedRunError if is_sigterm else InterruptedRunError
            error = kind("interrupted at the question", hint=self.again)
            error.touched = Touched.NOTHING
            raise error from None
        if not answer.endswith("\n"):
            sys.stderr.write("\n")
        return answer.strip()
