"""``explain``: what an error code or a rule means and what to do, from this program alone."""

from __future__ import annotations

import difflib

from opssight_migrate import __version__
from opssight_migrate.model.errors import MigrateError, UsageError
from opssight_migrate.model.explanations import ADVICE, WARNINGS, meaning, meanings, published
from opssight_migrate.model.report import Diagnostic, Report, utc_now
from opssight_migrate.static.rules import RULES


def codes() -> dict[str, str]:
    """Return every code and every rule, with what it means."""
    return meanings() | {rule.id: f"{rule.title}." for rule in RULES.values()}


def explain(code: str | None) -> Report:
    """Explain ``code``, or list all of them.

    Raises: UsageError, if there is no such code.
    """
    known = codes()
    if code is None:
        found = tuple(_note(one, text) for one, text in known.items())
    else:
        found = (_explained(_spelled(code, known)),)
    return Report(
        tool=f"opssight-migrate {__version__}",
        command="explain",
        status="ok",
        exit_code=0,
        started_at=utc_now(),
        duration_ms=0,
        diagnostics=found,
    )


def _spelled(code: str, known: dict[str, str]) -> str:
    wanted = code.upper() if code[:2].upper() == "OM" else code.lower()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1)
        maybe = f'; did you mean "{near[0]}"?' if near else ""
        raise UsageError(f'there is no code "{code}"{maybe}', hint="opssight-migrate explain")
    return wanted


def _explained(code: str) -> Diagnostic:
    if (rule := RULES.get(code)) is not None:
        return _note(code, f"{rule.title}. {rule.why}", rule.instead)
    if code in WARNINGS:
        return _note(code, *WARNINGS[code])
    kind: type[MigrateError] = published()[code]
    return Diagnostic(
        code=code,
        severity="note",
        message=f"{meaning(kind)} Exit code {int(kind.exit_code)} ({kind.exit_code.name}).",
        state=kind.touched.sentence,
        hint=ADVICE.get(code),
    )


def _note(code: str, message: str, hint: str | None = None) -> Diagnostic:
    return Diagnostic(code=code, severity="note", message=message, hint=hint)
