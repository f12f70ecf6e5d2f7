"""What was measured, in words: in full where it was asked for, in two lines elsewhere."""

from __future__ import annotations

from tests.unit.test_render_html import SERVER, report

from opssight_migrate.model.report import (
    CheckResult,
    Detail,
    Diagnostic,
    Machine,
    Performance,
    QueryTime,
)
from opssight_migrate.render.performance_text import performance_lines, server_sentence
from opssight_migrate.render.report_text import finding_lines

_NEW = QueryTime(
    id="audit-of-table", title="", verdict="no baseline", median_us=50, pages=3, plan=()
)
_SLOW = QueryTime(
    id="sign-in",
    title="",
    verdict="slower",
    median_us=14_200,
    pages=2_900,
    plan=("Seq Scan",),
    baseline_us=90,
    baseline_pages=4,
)
_FOUND = Performance(queries=(_NEW, _SLOW), server=SERVER)


def check(category: str) -> CheckResult:
    return CheckResult(id="x", title="x", category=category, status="passed", findings=0)


def test_every_query_stands_in_a_table_where_nothing_else_was_asked() -> None:
    lines = performance_lines(report(performance=_FOUND, checks=(check("performance"),)))

    assert any(
        line.split() == ["sign-in", "14", "ms", "0.09", "ms", "2,900", "4", "slower"]
        for line in lines
    )
    assert any(line.split()[:4] == ["audit-of-table", "0.05", "ms", "-"] for line in lines)


def test_among_other_checks_only_the_slowest_is_named() -> None:
    checks = (check("schema"), check("performance"))
    first, second = performance_lines(report(performance=_FOUND, checks=checks))

    assert first == "2 queries measured; the slowest is sign-in, 14 ms, 0.09 ms before"
    assert second.startswith("server: 3 of 97 connections in use, 99.1% of page reads")
    assert performance_lines(report(command="migrate", performance=_FOUND)) == []


def test_the_machine_is_told_where_it_is_known() -> None:
    machine = Machine(
        cpu_percent=12.4,
        server_cpu_percent=3.1,
        memory_bytes=24_000_000_000,
        available_bytes=6_000_000_000,
        server_bytes=None,
    )
    known = SERVER.model_copy(update={"machine": machine, "index_use": 0.5})

    assert "CPU and memory not known" in server_sentence(SERVER)
    said = server_sentence(known)
    assert "50.0% of scans by index" in said
    assert "CPU 12 % (its own 3 %), memory 6.0 GB free of 24.0 GB (its own not known)" in said


def test_the_plans_of_a_finding_stand_below_it() -> None:
    plans = (Detail(title="plan now", lines=("Limit", "  Seq Scan on \x1b[31musers")),)
    lines = finding_lines(Diagnostic(severity="warning", message="slow", hint="h", details=plans))

    assert lines == [
        "warning: slow",
        "  help: h",
        "  plan now:",
        "    Limit",
        "      Seq Scan on \\x1b[31musers",
    ]
