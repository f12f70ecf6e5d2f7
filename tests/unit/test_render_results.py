"""JUnit XML and annotations: what other programs read of a report."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.unit.test_render_html import HOSTILE, report

from opssight_migrate.model.report import Diagnostic
from opssight_migrate.render import junit
from opssight_migrate.render.annotations import annotation_lines


def test_each_check_is_a_test_case_of_its_category() -> None:
    (suite,) = ET.fromstring(junit.document(report()))

    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    failed, skipped = suite
    assert (failed.get("classname"), failed.get("name")) == ("schema", "x")
    failure = failed.find("failure")
    assert failure is not None
    assert "<script>alert(1)</script> [red]" in str(failure.text)
    assert "\x1b" not in str(failure.text)
    assert skipped.find("skipped") is not None


def test_an_error_that_stopped_the_verb_is_an_error() -> None:
    told = Diagnostic(code="OM201", severity="error", message="cannot connect")
    (suite,) = ET.fromstring(
        junit.document(report(status="failed", checks=(), diagnostics=(told,)))
    )

    assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "cannot connect"


def test_an_annotation_is_one_line_whatever_the_text() -> None:
    told = Diagnostic(code="a,b:c", severity="error", message="50%\n::error::forged", hint="do")
    error, note = annotation_lines(
        report(diagnostics=(told, Diagnostic(severity="note", message=HOSTILE)))
    )

    assert error.startswith("::error title=a%2Cb%3Ac::error[a,b:c]: 50%25")
    assert "\n" not in error
    assert "%0A  help: do" in error
    assert note.startswith("::notice title=verify::")
