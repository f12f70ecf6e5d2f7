"""The runs of a database as text: a table of them, or one in detail."""

from __future__ import annotations

from opssight_migrate.model.report import Report, RunEntry
from opssight_migrate.render.phrases import count, duration
from opssight_migrate.render.plan_text import table
from opssight_migrate.render.report_text import next_lines
from opssight_migrate.render.visible import visible

_HEADINGS = ("run", "began", "command", "status", "time", "by", "revision")


def history_lines(report: Report) -> list[str]:
    """Return the page of ``history``."""
    if not report.runs:
        return ["no run was made on this database yet", *next_lines(report)]
    if len(report.runs) == 1 and report.steps:
        return [*_detail(report.runs[0]), *_steps(report), *next_lines(report)]
    rows = [_row(run) for run in report.runs]
    return [*table([_HEADINGS, *rows], frozenset()), *next_lines(report)]


def _row(run: RunEntry) -> tuple[str, ...]:
    way = f"{run.revision_from or 'empty'} -> {run.revision_to}"
    return (run.id, _when(run), run.command, run.status, _took(run), run.operator, way)


def _detail(run: RunEntry) -> list[str]:
    facts: list[tuple[str, ...]] = [
        ("run", run.id),
        ("command", run.command),
        ("status", run.status),
        ("began", _when(run)),
        ("time", _took(run)),
        ("by", f"{run.operator} ({run.os_user}@{run.host})"),
        ("environment", run.environment),
        ("revision", f"{run.revision_from or 'an empty database'} -> {run.revision_to}"),
        ("plan", run.plan_digest),
        ("tool", f"opssight-migrate {run.tool_version}"),
        *([("error", run.error)] if run.error else []),
    ]
    return table(facts, frozenset())


def _steps(report: Report) -> list[str]:
    rows = [
        (
            step.status,
            step.id,
            count(step.rows.done) if step.rows else "-",
            "-" if step.duration_ms is None else duration(step.duration_ms / 1000),
        )
        for step in report.steps
    ]
    return ["", *table([("status", "step", "rows", "time"), *rows], frozenset({2, 3})), ""]


def _when(run: RunEntry) -> str:
    return run.started_at.strftime("%Y-%m-%d %H:%M:%SZ")


def _took(run: RunEntry) -> str:
    if run.finished_at is None:
        return visible("not finished")
    return duration((run.finished_at - run.started_at).total_seconds())
