"""The report as a Prometheus text file, for node_exporter's textfile collector."""

from __future__ import annotations

import os
from pathlib import Path

from opssight_migrate.model.errors import UsageError
from opssight_migrate.model.report import Report

_PREFIX = "opssight_migrate"


def metrics_text(report: Report) -> str:
    """Return the metrics of one verb; times are Unix seconds, lengths of time seconds."""
    environment = report.environment.name if report.environment else ""
    labels = {"command": report.command, "environment": environment}
    rows = sum(step.rows.done for step in report.steps if step.rows)
    locks = [lock.held_ms for step in report.steps for lock in step.locks]
    lost = sum(report.lost.by_cause_ms.values()) if report.lost else 0
    findings = sum(check.findings for check in report.checks)
    values: tuple[tuple[str, str, float], ...] = (
        ("exit_code", "What the last run exited with.", report.exit_code),
        ("success", "1 where the last run ended well.", int(report.exit_code in (0, 3))),
        ("started_timestamp_seconds", "When it began.", report.started_at.timestamp()),
        ("duration_seconds", "How long it took.", report.duration_ms / 1000),
        ("rows_written", "Rows that its steps wrote.", rows),
        ("lock_held_seconds_max", "The longest strong lock.", max(locks, default=0) / 1000),
        ("waited_for_others_seconds", "Time lost to the governor.", lost / 1000),
        ("findings", "What its checks found.", findings),
    )
    given = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    lines: list[str] = []
    for name, what, value in values:
        lines += [
            f"# HELP {_PREFIX}_{name} {what}",
            f"# TYPE {_PREFIX}_{name} gauge",
            f"{_PREFIX}_{name}{{{given}}} {value:.15g}",
        ]
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, report: Report) -> None:
    """Write the file at once, so that no collector reads half of it.

    Raises: UsageError, if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(metrics_text(report), "utf-8")
        temporary.chmod(0o644)  # the collector runs as somebody else; there is no secret in it
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"--metrics-file: cannot write {path}: {error.strerror}",
            hint="name a file in a directory that you may write to",
        ) from None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
