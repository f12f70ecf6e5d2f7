"""The report as annotations that GitHub shows beside a workflow's run."""

from __future__ import annotations

from opssight_migrate.model.report import Diagnostic, Report
from opssight_migrate.render.report_text import finding_lines

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def annotation_lines(report: Report) -> list[str]:
    """Return one line a diagnostic. A text cannot end its line or open a command of its own.

    Source: actions/toolkit, packages/core/src/command.ts, escapeData and escapeProperty.
    """
    return [
        f"::{_LEVELS[one.severity]} {_place(one)}title={_property(one.code or report.command)}"
        f"::{_data(chr(10).join(finding_lines(one)))}"
        for one in report.diagnostics
    ]


def place_of(found: Diagnostic) -> tuple[str, str] | None:
    """Return the file and the line of what was found in one; None for anything else."""
    path, _, line = (found.location or "").rpartition(":")
    return (path, line) if path and line.isdigit() else None


def _place(found: Diagnostic) -> str:
    place = place_of(found)
    return "" if place is None else f"file={_property(place[0])},line={place[1]},"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
