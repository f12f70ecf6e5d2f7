"""Findings that have a file and a line, as JUnit's XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from opssight_migrate.model.report import Diagnostic, Report
from opssight_migrate.render.visible import visible


def junit_xml(report: Report) -> str:
    """Return one suite: a case for each part that passed, and one for each finding."""
    findings = [one for one in report.diagnostics if one.severity != "note"]
    passed = [one for one in report.checks if one.status == "passed"]
    suite = ET.Element(
        "testsuite",
        name=f"opssight-migrate {report.command}",
        tests=str(len(passed) + len(findings)),
        failures=str(len(findings)),
        errors="0",
        skipped="0",
        time=f"{report.duration_ms / 1000:.3f}",
        timestamp=report.started_at.isoformat(timespec="seconds"),
    )
    for check in passed:
        ET.SubElement(suite, "testcase", classname=check.category, name=visible(check.title))
    for finding in findings:
        path, line = _place(finding)
        where = f"{path}:{line}" if line else path
        name = f"{finding.code} {where}".strip()
        case = ET.SubElement(suite, "testcase", classname=visible(path), name=visible(name))
        if path:
            case.set("file", visible(path))
        failure = ET.SubElement(case, "failure", message=visible(finding.message))
        failure.text = visible(finding.hint or "")
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=False)


def _place(found: Diagnostic) -> tuple[str, str]:
    path, colon, line = (found.location or "").rpartition(":")
    return (path, line) if colon and line.isdigit() else (found.location or "", "")
