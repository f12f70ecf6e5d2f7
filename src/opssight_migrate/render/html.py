"""The report as one HTML file: no script, nothing from elsewhere, and every text escaped."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from opssight_migrate.model.report import Diagnostic, Report
from opssight_migrate.render.chart import bars, time_taken
from opssight_migrate.render.performance_text import pages_of, server_sentence, times_of
from opssight_migrate.render.phrases import counted, verified
from opssight_migrate.render.visible import visible, visible_lines

_GOOD = {"ok", "nothing_to_do"}
_VERDICTS = {
    "nothing_to_do": "There was nothing to do",
    "pending": "There is something to do",
    "findings": "Something is wrong",
    "refused": "Refused: nothing was begun",
    "failed": "Failed",
    "rolled_back": "Failed, and everything of this run was undone",
    "partial": "Stopped on the way; it can go on",
    "interrupted": "Interrupted; it can go on",
}


def page(report: Report) -> str:
    """Return the whole document."""
    last = report.last_run
    ran = any(step.duration_ms is not None for step in report.steps)
    steps = report.steps if ran else (last.steps if last else ())
    bad = [one for one in report.diagnostics if one.severity != "note"]
    catalogue = {check.id for check in report.checks if check.category == "schema"}
    return _template().render(
        report=report,
        good=_is_good(report, bad),
        verdict=_verdict(report),
        found=[one for one in bad if one.code not in catalogue],
        differences=[one for one in report.diagnostics if one.code in catalogue],
        notes=[d for d in report.diagnostics if d.severity == "note" and d.code not in catalogue],
        mending=_mending(report.diagnostics),
        steps=steps,
        steps_of=None if ran or last is None else last,
        bars=bars(steps),
    )


def _verdict(report: Report) -> str:
    if report.status == "findings":
        failed = [check for check in report.checks if check.status == "failed"]
        found = sum(check.findings for check in failed)
        asked = sum(1 for check in report.checks if check.status != "skipped")
        return f"{counted(found, 'finding')} in {len(failed)} of {asked} checks"
    if report.status == "ok":
        return verified(report).capitalize() if _asks(report) else f"{report.command}: done"
    return _VERDICTS[report.status]


def _is_good(report: Report, bad: list[Diagnostic]) -> bool:
    if _asks(report) and (bad or all(check.status == "skipped" for check in report.checks)):
        return False
    return report.status in _GOOD


def _asks(report: Report) -> bool:
    return report.command == "verify"


def _mending(diagnostics: tuple[Diagnostic, ...]) -> str:
    statements = [line for one in diagnostics if one.sql for line in one.sql.splitlines()]
    return "\n".join(dict.fromkeys(map(visible, statements)))


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("opssight_migrate.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., object]] = {
        "seen": visible,
        "took": lambda ms: "-" if ms is None else time_taken(ms),
        "server": server_sentence,
        "times": times_of,
        "pages": pages_of,
        "lines": visible_lines,
        "rows": lambda number: counted(number, "row"),
        "many": lambda number: "-" if number is None else f"{number:,}",
    }
    environment.filters |= filters
    return environment.get_template("report.html.j2")
