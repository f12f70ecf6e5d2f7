"""The log of one run: plain text, and the same as JSON lines beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TextIO

from opssight_migrate.model.events import Event, PlanMade
from opssight_migrate.model.report import Report, utc_now
from opssight_migrate.render.jsonl import event_json, report_json, rfc3339
from opssight_migrate.render.phrases import error_lines, event_line
from opssight_migrate.render.plan_text import plan_lines
from opssight_migrate.render.report_text import summary_lines
from opssight_migrate.render.visible import visible

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 63


class LogFile:
    """Two files that only their owner can read. ``path`` is that of the text."""

    def __init__(
        self, path: Path, text: TextIO, lines: TextIO, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.path = path
        self._text = text
        self._lines = lines
        self._now = now
        self._has_plan = False

    @classmethod
    def open(
        cls,
        log_dir: Path,
        prefix: str,
        environment: str,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> LogFile:
        """Create prefix_environment_time.log and .jsonl, and the directory if it is missing.

        Raises: OSError, if they cannot be made.
        """
        _make_private(log_dir)
        named = _NOT_IN_A_NAME.sub("_", environment)[:_LONGEST_NAME] or "_"
        stem = f"{prefix}_{named}_{now():%Y%m%dT%H%M%SZ}"
        for attempt in range(1, 1000):
            path = log_dir / (f"{stem}.log" if attempt == 1 else f"{stem}-{attempt}.log")
            try:
                text = _created(path)
            except FileExistsError:
                continue
            try:
                return cls(path, text, _created(path.with_suffix(".jsonl")), now)
            except OSError:
                text.close()
                raise
        raise FileExistsError(f"{log_dir / stem}.log and a thousand like it are there already")

    def emit(self, event: Event) -> None:
        """Write one event into both files, with its time."""
        at = self._now()
        self._lines.write(event_json(event, at) + "\n")
        if isinstance(event, PlanMade):
            self._has_plan = True
            self.write(plan_lines(event.plan))
        else:
            self.write([event_line(event) or ""])
        self._lines.flush()

    def write(self, lines: Iterable[str]) -> None:
        """Write lines of text, each with the time."""
        at = rfc3339(self._now())
        for line in lines:
            self._text.write(f"{at} {visible(line)}".rstrip() + "\n")
        self._text.flush()

    def finish(self, report: Report, origin: str = "") -> None:
        """Write the report at the end of both files."""
        summary = summary_lines(report, origin=origin, plan_shown=self._has_plan)
        self.write([*error_lines(report), *summary])
        self._lines.write(report_json(report) + "\n")
        self._lines.flush()

    def close(self) -> None:
        """Close both files."""
        self._text.close()
        self._lines.close()


def _make_private(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def _created(path: Path) -> TextIO:
    """Create a file that was never readable by others, not even for a moment."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace")
