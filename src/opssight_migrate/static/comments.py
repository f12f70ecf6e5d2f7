"""Comments that allow a rule for a reason: ``# opssight: allow RULE because …``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opssight_migrate.model.plan import Severity
from opssight_migrate.static.found import UNREAD, Found
from opssight_migrate.static.rules import RULES

_ALLOWED = re.compile(r"(?:#|--)\s*opssight:\s*allow\s+([\w/-]+)[\s:,-]*(.*)")
_REASON = re.compile(r"(?:because\s+)?(\S.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """One comment: what it allows, on which line, and why."""

    rule: str
    line: int
    reason: str


def allowed_in(text: str) -> list[Allowed]:
    """Return the comments of a file, those inside of its SQL too."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := _ALLOWED.search(line):
            reason = _REASON.fullmatch(match[2].strip())
            found.append(Allowed(rule=match[1], line=number, reason=reason[1] if reason else ""))
    return found


def applied(path: Path, text: str, found: Sequence[Found]) -> list[Found]:
    """Leave out what a comment with a reason allows, and say what is wrong with the comments.

    A comment speaks of its own line and, where it stands alone, of the first line of code below.
    """
    lines = text.splitlines()
    left = list(found)
    for comment in allowed_in(text):
        covered = {comment.line, _next_code(lines, comment.line)}
        meant = [f for f in left if f.rule == comment.rule and f.line in covered]
        problem = _problem(comment, bool(meant))
        if problem is None:
            left = [f for f in left if f not in meant]
        else:
            left.append(_about(path, comment, *problem))
    return left


def _problem(comment: Allowed, means_something: bool) -> tuple[str, str] | None:
    is_known = comment.rule in RULES or comment.rule.startswith("squawk/")
    if not is_known and comment.rule != UNREAD:
        return "allowed-for-nothing", f"there is no rule {comment.rule}"
    if not means_something:
        return "allowed-for-nothing", f"nothing here is against {comment.rule}"
    if not comment.reason:
        return "allowed-without-reason", f"{comment.rule} is allowed, and nobody says why"
    return None


def _about(path: Path, comment: Allowed, rule: str, message: str) -> Found:
    severity = Severity.FAIL if rule == "allowed-without-reason" else Severity.WARN
    return Found(rule=rule, message=message, path=path, line=comment.line, severity=severity)


def _next_code(lines: Sequence[str], number: int) -> int:
    """Return the line that a comment on a line of its own speaks of; 0 where it is not alone."""
    if not lines[number - 1].strip().startswith(("#", "--")):
        return 0
    for place in range(number, len(lines)):
        text = lines[place].strip()
        if text and not text.startswith(("#", "--")):
            return place + 1
    return 0
