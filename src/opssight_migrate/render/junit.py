"""The report as JUnit XML, one test case a check, for whoever shows test results."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from opssight_migrate.model.report import CheckResult, Report
from opssight_migrate.render.report_text import finding_lines
from opssight_migrate.render.visible import visible


def document(report: Report) -> str:
    """Return the document; an error that stopped the verb is a test case of its own."""
    suite = ET.Element("testsuite", name=f"opssight-migrate {report.command}")
    for check in report.checks:
        _case(suite, check, report)
    ids = {check.id for check in report.checks}
    stopped = [d for d in report.diagnostics if d.severity == "error" and d.code not in ids]
    for one in stopped:
        case = ET.SubElement(suite, "testcase", classname="run", name=report.command)
        told = ET.SubElement(case, "error", message=visible(one.message))
        told.text = "\n".join(finding_lines(one))
    suite.set("tests", str(len(report.checks) + len(stopped)))
    suite.set("failures", str(sum(check.status == "failed" for check in report.checks)))
    suite.set("errors", str(len(stopped)))
    suite.set("skipped", str(sum(check.status == "skipped" for check in report.checks)))
    suite.set("time", f"{report.duration_ms / 1000:.3f}")
    suite.set("timestamp", report.started_at.strftime("%Y-%m-%dT%H:%M:%S"))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, check: CheckResult, report: Report) -> None:
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
        found = [d for d in report.diagnostics if d.code == check.id and d.severity != "note"]
        failure = ET.SubElement(case, "failure", message=visible(found[0].message))
        failure.text = "\n".join(line for one in found for line in finding_lines(one))
