"""What a verb ends with, as text: how it went, the steps, the proof, and what to type next."""

from __future__ import annotations

from collections.abc import Collection

from opssight_migrate.model.plan import DatabaseFacts
from opssight_migrate.model.report import CheckResult, Diagnostic, Report, ReportStep
from opssight_migrate.render.performance_text import performance_lines
from opssight_migrate.render.phrases import count, counted, duration, verified
from opssight_migrate.render.plan_text import heading, shims_line, table
from opssight_migrate.render.visible import visible, visible_lines

_TO_THE_RIGHT = frozenset({2, 3, 4})
_STATUS = {
    "ok": "done",
    "nothing_to_do": "nothing to do",
    "pending": "there is something to do",
    "refused": "refused: nothing was begun",
    "failed": "failed",
    "rolled_back": "failed, and everything of this run was undone",
    "partial": "stopped on the way",
    "findings": "something was found",
    "interrupted": "interrupted",
}
_CHECK = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


def summary_lines(
    report: Report, *, origin: str = "", plan_shown: bool = False, heard: Collection[str] = ()
) -> list[str]:
    """Return the summary of ``report``.

    ``plan_shown`` leaves out what the plan above it says already, and ``heard`` are the messages
    that the same reader has read before. Errors are not here: they go to another stream.
    """
    lines = [] if plan_shown else [*_where(report, origin), *_revision(report)]
    if not plan_shown or any(step.status != "pending" for step in report.steps):
        lines += _steps(report)
    if not plan_shown:
        lines += [visible(sentence) for sentence in report.announcements]
    lines += [check_line(check) for check in report.checks]
    lines += performance_lines(report)
    lines += _diagnostics(report, heard)
    lines += _mending(report)
    if report.proof is not None:
        lines.append(visible(report.proof.sentence))
    if report.lost is not None:
        lines.append(visible(report.lost.sentence))
    if not report.dry_run:
        lines += _shims(report)
    lines += [visible(f"archive {kept}") for kept in report.archives]
    lines += [visible(f"set aside: database {kept}") for kept in report.retired]
    lines += _last_run(report)
    if not (plan_shown and (report.dry_run or report.status == "nothing_to_do")):
        lines.append(_status(report))
    lines += [visible(f"{artifact.kind}: {artifact.path}") for artifact in report.artifacts]
    return lines + next_lines(report)


def next_lines(report: Report) -> list[str]:
    """Return a ``next:`` line for each command that may follow."""
    return [
        visible(f"next: {step.command}" + (f"  ({step.why})" if step.why else ""))
        for step in report.next
    ]


def finding_lines(finding: Diagnostic) -> list[str]:
    """Return a warning, a note, or what a check found, with its rows and its hint."""
    label = f"{finding.severity}[{finding.code}]" if finding.code else finding.severity
    text = f"{label}: {finding.message}"
    if finding.location and finding.location not in finding.message:
        text += f" ({finding.location})"
    if finding.rows is not None:
        text += f", {counted(finding.rows, 'row')}"
    if finding.keys:
        text += f": {', '.join(finding.keys)}"
        text += ", …" if finding.rows is not None and finding.rows > len(finding.keys) else ""
    lines = [visible(text)]
    if finding.hint:
        first, *rest = visible_lines(finding.hint)
        lines += [f"  help: {first}", *(f"        {line}" for line in rest)]
    for detail in finding.details:
        lines += [visible(f"  {detail.title}:"), *(visible(f"    {one}") for one in detail.lines)]
    return lines


def looked_at_lines(report: Report, origin: str) -> list[str]:
    """Return each thing that was looked at, with what was found about it below."""
    lines = _where(report, origin) if report.environment and report.environment.database else []
    for check in report.checks:
        lines.append(check_line(check))
        for found in report.diagnostics:
            if found.code == check.id:
                label = "" if found.severity == "note" else f"{found.severity}: "
                lines.append(visible(f"           {label}{found.message}"))
                lines += [visible(f"             help: {found.hint}")] if found.hint else []
    return [*lines, _status(report), *next_lines(report)]


def located_lines(found: Diagnostic) -> list[str]:
    """Return a finding with its place in front, as compilers write it and editors read it."""
    label = f"{found.severity}[{found.code}]" if found.code else found.severity
    at = f"{found.location}: " if found.location else ""
    hint = [visible(f"  help: {found.hint}")] if found.hint else []
    return [visible(f"{at}{label}: {found.message}"), *hint]


def _where(report: Report, origin: str) -> list[str]:
    environment = report.environment
    if environment is None:
        return []
    if environment.database is None:
        return [visible(f"{environment.name}  ({origin})" if origin else environment.name)]
    facts = DatabaseFacts(**environment.database.model_dump(), database_oid=0)
    return [heading(environment.name, facts, origin or "the configuration")]


def _revision(report: Report) -> list[str]:
    revision = report.revision
    if revision is None or report.environment is None or report.environment.database is None:
        return []
    now = revision.to or revision.from_ or "none: an empty database"
    began = f"{revision.from_ or 'an empty database'} -> " if report.run_id else ""
    return [visible(f"revision {began}{now}; the newest is {revision.head}")]


def _steps(report: Report) -> list[str]:
    if not report.steps:
        return []
    rows = [
        (
            step.status,
            f"{step.id} {step.title}" if step.kind == "schema" else step.id,
            _rows(step),
            "-" if step.duration_ms is None else duration(step.duration_ms / 1000),
            "-" if step.forecast is None else duration(step.forecast.p50_ms / 1000),
        )
        for step in report.steps
    ]
    return ["", *table([("status", "step", "rows", "time", "forecast"), *rows], _TO_THE_RIGHT), ""]


def _rows(step: ReportStep) -> str:
    rows = step.rows
    if rows is None:
        return "-"
    if step.status == "done":
        return count(rows.done)
    about = "" if rows.exact else "about "
    if step.status == "pending":
        return "-" if rows.total is None else f"{about}{rows.total:,}"
    if rows.total is None:
        return count(rows.done)
    return f"{rows.done:,} of {about}{max(rows.done, rows.total):,}"


def check_line(check: CheckResult) -> str:
    """Return what was looked at, how it came out, and why it was not."""
    found = f", {counted(check.findings, 'finding')}" if check.findings else ""
    why = f": {check.reason}" if check.reason else ""
    return visible(f"  {_CHECK[check.status]:7}  {check.id}  {check.title}{found}{why}")


def _diagnostics(report: Report, heard: Collection[str]) -> list[str]:
    lines: list[str] = []
    for found in report.diagnostics:
        is_result = found.severity != "error" or report.status == "findings"
        if is_result and found.message not in heard:
            lines += finding_lines(found)
    return lines


def _mending(report: Report) -> list[str]:
    """Return the SQL that would mend what was found, to be read before anybody runs it."""
    statements = [line for d in report.diagnostics if d.sql for line in d.sql.splitlines()]
    if not statements:
        return []
    told = "-- what would mend these differences; nothing of it was run"
    return [told, *(visible(line) for line in dict.fromkeys(statements))]


def _shims(report: Report) -> list[str]:
    return [
        line.replace("Will stay until cleanup", "Stay until cleanup", 1)
        for line in shims_line(report.shims)
    ]


def _last_run(report: Report) -> list[str]:
    run = report.last_run
    if run is None:
        return []
    when = run.started_at.strftime("%Y-%m-%d %H:%M:%SZ")
    took = (
        f", {duration((run.finished_at - run.started_at).total_seconds())}"
        if run.finished_at
        else ", not finished"
    )
    why = f": {run.error}" if run.error else ""
    return [visible(f"last run {run.id}: {run.command} at {when}, {run.status}{took}{why}")]


def _status(report: Report) -> str:
    word = _STATUS[report.status]
    if report.status == "ok" and report.command == "verify":
        word = verified(report)
    if report.status == "ok" and report.command == "status":
        word = "up to date"
    if report.status == "pending" and report.command == "status" and not report.steps:
        word = "a migration would be refused" if _is_warned(report) else word
    took = f" in {duration(report.duration_ms / 1000)}" if report.status == "ok" else ""
    return f"{report.command}: {word}{took}"


def _is_warned(report: Report) -> bool:
    return any(found.severity == "warning" for found in report.diagnostics)
