"""What a static check found, and where: a rule, a sentence, a file and a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opssight_migrate.model.plan import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding. ``line`` is 0 where it speaks of a whole file; ``hint`` is what mends it."""

    rule: str
    message: str
    path: Path
    line: int = 0
    hint: str | None = None
    severity: Severity = Severity.FAIL


UNREAD = "unread"


def unread(message: str, path: Path, line: int) -> Found:
    """Return a note about something that only running the revision would tell."""
    return Found(rule=UNREAD, message=message, path=path, line=line, severity=Severity.NOTE)
