"""The report as annotations that GitHub shows beside a workflow's run, or beside the line."""

from __future__ import annotations

from opssight_migrate.model.report import Diagnostic, Report
from opssight_migrate.render.visible import visible

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def annotation_lines(report: Report) -> list[str]:
    """Return one line a diagnostic. A text cannot end its line or open a command of its own.

    Source: actions/toolkit, packages/core/src/command.ts, escapeData and escapeProperty.
    """
    return [_annotation(one, report.command) for one in report.diagnostics]


def place_of(found: Diagnostic) -> tuple[str, str] | None:
    """Return file and line of a finding in a file, None for one about anything else."""
    path, colon, line = (found.location or "").rpartition(":")
    return (path, line) if colon and line.isdigit() else None


def _annotation(found: Diagnostic, command: str) -> str:
    place = place_of(found)
    given = {"title": found.code or command}
    if place is not None:
        given = {"file": place[0], "line": place[1], **given}
    properties = ",".join(f"{key}={_property(text)}" for key, text in given.items())
    where = f" ({found.location})" if found.location and place is None else ""
    text = found.message + where + (f"\nhelp: {found.hint}" if found.hint else "")
    return f"::{_LEVELS[found.severity]} {properties}::{_data(text)}"


def _data(text: str) -> str:
    lines = text.replace("%", "%25").replace("\r", "%0D").split("\n")
    return "%0A".join(visible(line) for line in lines)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
