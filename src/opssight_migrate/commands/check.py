"""``check``: what can be said without a database. The configuration, the chain, its hazards."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from opssight_migrate import __version__, settings
from opssight_migrate.model.errors import ConfigError, ExitCode
from opssight_migrate.model.plan import Severity
from opssight_migrate.model.report import Artifact, CheckResult, Diagnostic, Next, Report, utc_now
from opssight_migrate.static import inspection, published
from opssight_migrate.static.found import UNREAD, Found
from opssight_migrate.static.rules import RULES

PARTS: dict[str, str] = {
    "configuration": "opssight.toml is valid",
    "chain": "the chain has one head, no gap, no edit, and a way back",
    "hazards": "no revision does what hurts a live database",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What to look at. ``location`` None: the working directory's Alembic, else our own chain."""

    only: tuple[str, ...] = ()
    location: Path | None = None
    base: str | None = None
    config: Path | None = None
    write_checksums: bool = False


def check(request: CheckRequest) -> Report:
    """Look at what was asked for; findings, but not what could not be read, make it exit 1.

    Raises: UsageError, where the folder or the branch cannot be read.
    """
    started_at = utc_now()
    wanted = request.only or tuple(PARTS)
    found: list[Diagnostic] = []
    results: list[CheckResult] = []
    artifacts: tuple[Artifact, ...] = ()
    if "configuration" in wanted:
        mistakes = _configuration(request.config)
        results.append(_result("configuration", mistakes))
        found += mistakes
    if {"chain", "hazards"} & set(wanted):
        folder = inspection.versions_folder(request.location or _location())
        if request.write_checksums:
            artifacts = (_publish(folder),)
        seen = inspection.inspect(folder, base=request.base)
        for part, of_part in (("chain", seen.of_chain), ("hazards", seen.of_hazards)):
            if part in wanted:
                told = [_diagnostic(one) for one in of_part]
                results.append(_result(part, told, seen.revisions))
                found += told
        found += [Diagnostic(severity="note", message=note) for note in seen.notes]
    failed = any(one.status == "failed" for one in results)
    took = utc_now() - started_at
    return Report(
        tool=f"opssight-migrate {__version__}",
        command="check",
        status="findings" if failed else "ok",
        exit_code=int(ExitCode.FINDINGS if failed else ExitCode.OK),
        started_at=started_at,
        duration_ms=round(took.total_seconds() * 1000),
        checks=tuple(results),
        diagnostics=tuple(found),
        artifacts=artifacts,
        next=_next([one.code for one in found if one.severity != "note"]),
    )


def _location() -> Path:
    from opssight_migrate.postgres import chain

    return inspection.location_in(Path.cwd()) or chain.script_location()


def _publish(folder: Path) -> Artifact:
    path = published.write(folder, list(folder.glob("*.py")))
    return Artifact(kind="checksums", path=_shown(path), bytes=path.stat().st_size)


def _configuration(config: Path | None) -> list[Diagnostic]:
    try:
        settings.load(config)
    except ConfigError as error:
        return [
            Diagnostic(
                code=error.code,
                severity="error",
                message=error.message,
                location=error.where,
                hint=error.hint,
            )
        ]
    return []


def _result(part: str, found: Sequence[Diagnostic], revisions: int | None = None) -> CheckResult:
    findings = sum(one.severity != "note" for one in found)
    status: Literal["passed", "failed"] = "failed" if findings else "passed"
    title = PARTS[part]
    if revisions is not None:
        title += f" ({revisions} revisions)"
    return CheckResult(id=part, title=title, category="static", status=status, findings=findings)


def _diagnostic(found: Found) -> Diagnostic:
    severity: dict[Severity, Literal["error", "warning", "note"]] = {
        Severity.FAIL: "error",
        Severity.WARN: "warning",
        Severity.NOTE: "note",
    }
    rule = RULES.get(found.rule)
    at = f"{_shown(found.path)}:{found.line}" if found.line else _shown(found.path)
    return Diagnostic(
        code=found.rule,
        severity=severity[found.severity],
        message=found.message,
        location=at,
        hint=found.hint or (rule.instead if rule else None),
    )


def _shown(path: Path) -> str:
    """Return a path as the reader would type it here."""
    shown = os.path.relpath(path)
    return str(path) if shown.startswith("..") else shown


def _next(codes: Collection[str | None]) -> tuple[Next, ...]:
    known = [code for code in dict.fromkeys(codes) if code in RULES and code != UNREAD]
    return tuple(
        Next(command=f"opssight-migrate explain {code}", why="why this hurts") for code in known[:3]
    )
