"""The report as JUnit XML, one test case a check, for whoever shows test results."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from opssight_migrate.model.report import CheckResult, Diagnostic, Report
from opssight_migrate.render.annotations import place_of
from opssight_migrate.render.report_text import finding_lines
from opssight_migrate.render.visible import visible


def document(report: Report) -> str:
    """Return the document, one test case a check.

    What no check answers for is a case of its own: a finding in a file, with file and line, or
    the error that stopped the verb.
    """
    suite = ET.Element("testsuite", name=f"opssight-migrate {report.command}")
    for check in report.checks:
        _case(suite, check, report)
    ids = {check.id for check in report.checks}
    kind = "failure" if report.status == "findings" else "error"
    for one in report.diagnostics:
        is_told = one.severity == "error" or (kind == "failure" and one.severity == "warning")
        if is_told and one.code not in ids:
            _other(suite, one, report.command, kind)
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{report.duration_ms / 1000:.3f}")
    suite.set("timestamp", report.started_at.strftime("%Y-%m-%dT%H:%M:%S"))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _other(suite: ET.Element, found: Diagnostic, command: str, kind: str) -> None:
    # Where a verb could not connect, host:port is no file and line.
    place = place_of(found) if kind == "failure" else None
    name = visible(f"{found.code} {found.location}") if place else command
    case = ET.SubElement(suite, "testcase", classname="run", name=name)
    if place is not None:
        case.set("classname", visible(place[0]))
        case.set("file", visible(place[0]))
    told = ET.SubElement(case, kind, message=visible(found.message))
    told.text = "\n".join(finding_lines(found))


def _case(suite: ET.Element, check: CheckResult, report: Report) -> None:
    found = [d for d in report.diagnostics if d.code == check.id and d.severity != "note"]
    if check.status == "failed" and not found:
        return  # a part of ``check``: each of its findings is a case of its own
    case = ET.SubElement(
        suite,
        "testcase",
        classname=check.category,
        name=check.id,
        time=f"{check.duration_ms / 1000:.3f}",
    )
    if check.status == "skipped":
        ET.SubElement(case, "skipped", message=visible(check.reason or ""))
    if check.status == "failed":
        failure = ET.SubElement(case, "failure", message=visible(found[0].message))
        failure.text = "\n".join(line for one in found for line in finding_lines(one))
