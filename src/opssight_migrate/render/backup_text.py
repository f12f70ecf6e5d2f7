"""What ``backup list`` and ``backup verify`` print: the files, and what was looked at."""

from __future__ import annotations

from humanize import naturalsize

from opssight_migrate.model.report import Report
from opssight_migrate.render.phrases import labelled
from opssight_migrate.render.report_text import check_line
from opssight_migrate.render.visible import visible

_WORDS = {True: "proven", False: "bad", None: "not proven"}


def backup_lines(report: Report) -> list[str]:
    """Return the page: a line for each backup, each check and each warning."""
    backups = [one for one in report.artifacts if one.kind == "backup"]
    is_list = not report.checks
    lines = [
        visible(
            f"{one.path}  {naturalsize(one.bytes)}"
            + (f"  {_WORDS[one.verified]}" if is_list else "")
        )
        for one in backups
    ]
    if is_list and not backups:
        lines.append("there are no backups; make one: opssight-migrate backup create")
    lines += [check_line(check) for check in report.checks]
    for one in report.diagnostics:
        where = f" ({one.location})" if one.location else ""
        lines.append(labelled(one.severity, one.message + where, one.code, one.hint))
    return lines
