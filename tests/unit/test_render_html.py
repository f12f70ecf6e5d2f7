"""The HTML report: one file that needs nothing else, with every text as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from opssight_migrate.model.report import (
    CheckResult,
    Database,
    Detail,
    Diagnostic,
    Environment,
    ForecastTime,
    LastRun,
    LockReceipt,
    Next,
    Performance,
    Proof,
    QueryTime,
    Report,
    ReportStep,
    Revision,
    Rows,
    ServerLoad,
    utc_now,
)
from opssight_migrate.render import html
from opssight_migrate.render.chart import bars

SERVER = ServerLoad(
    connections=3, connections_most=97, cache_hit=0.991, index_use=None, machine=None
)
HOSTILE = "<script>alert(1)</script> [red] \x1b[31m ' \" & " + "long-name-" * 60


def step(name: str = "assign-roles", took_ms: int | None = 1_500) -> ReportStep:
    return ReportStep(
        id=name,
        title=HOSTILE,
        kind="data",
        status="done",
        duration_ms=took_ms,
        forecast=ForecastTime(p50_ms=1_000, p90_ms=2_000),
        rows=Rows(done=240_113, total=240_113, exact=True),
        locks=(LockReceipt(relation="users", mode="ACCESS EXCLUSIVE", waited_ms=300, held_ms=4),),
    )


def report(**changes: object) -> Report:
    values: dict[str, object] = {
        "tool": HOSTILE,
        "command": "verify",
        "status": "findings",
        "exit_code": 1,
        "started_at": utc_now(),
        "duration_ms": 2_345,
        "environment": Environment(
            name=HOSTILE,
            protected=True,
            database=Database(
                host=HOSTILE,
                port=5432,
                name=HOSTILE,
                user=HOSTILE,
                server_version="18.1",
                timescaledb=None,
                system_identifier="7",
            ),
        ),
        "revision": Revision.model_validate({"from": "a", "to": "b", "head": "c"}),
        "proof": Proof(tables=22, rows=5, identical=True, sentence=HOSTILE),
        "shims": (HOSTILE,),
        "last_run": LastRun(
            id=HOSTILE,
            command="migrate",
            status="ok",
            started_at=utc_now(),
            finished_at=utc_now(),
            error=None,
            steps=(step(), step(HOSTILE)),
        ),
        "checks": (
            CheckResult(id="x", title=HOSTILE, category="schema", status="failed", findings=2),
            CheckResult(
                id="y", title="y", category="audit", status="skipped", findings=0, reason=HOSTILE
            ),
        ),
        "diagnostics": (
            Diagnostic(
                code="x",
                severity="error",
                message=HOSTILE,
                hint=HOSTILE,
                location=HOSTILE,
                rows=7,
                keys=(HOSTILE,),
                sql=HOSTILE,
            ),
            Diagnostic(code="x", severity="note", message=HOSTILE, keys=(HOSTILE,), rows=1),
        ),
    }
    return Report.model_validate(values | changes)


class Elements(HTMLParser):
    """Takes down what elements a page has, and where they point."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_hostile_text_is_text_wherever_it_stands() -> None:
    page = html.page(report())
    found = Elements()
    found.feed(page)

    assert "script" not in found.names
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; [red]") >= 15
    assert "\x1b" not in page


def test_it_loads_nothing_from_anywhere() -> None:
    page = html.page(report())
    found = Elements()
    found.feed(page)

    assert {"img", "link", "iframe", "a", "form"} & set(found.names) == set()
    assert not [name for name, _ in found.attributes if name in ("src", "href", "style")]
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_the_verdict_comes_first_and_says_how_much_is_wrong() -> None:
    page = html.page(report())

    assert page.index("2 findings in 1 of 1 checks") < page.index("<h2>")
    assert '<div class="verdict">' in page


def test_a_slower_query_stands_with_both_plans_and_what_is_not_known_is_said() -> None:
    measured = QueryTime(
        id="sign-in",
        title=HOSTILE,
        verdict="slower",
        median_us=14_200,
        pages=2_900,
        plan=("Seq Scan",),
        baseline_us=90,
        baseline_pages=4,
    )
    plans = (
        Detail(title="plan before", lines=("Index Scan <b>",)),
        Detail(title="plan now", lines=("Seq Scan",)),
    )
    page = html.page(
        report(
            diagnostics=(Diagnostic(severity="warning", message="slow", details=plans),),
            performance=Performance(queries=(measured,), server=SERVER),
        )
    )

    assert page.index("plan before") < page.index("Index Scan &lt;b&gt;") < page.index("plan now")
    assert "14 ms" in page
    assert "0.09 ms" in page
    assert "2,900" in page
    assert "CPU and memory not known" in page


def test_catalogue_differences_stand_apart_with_what_is_not_ours() -> None:
    schema = CheckResult(id="golden", title="g", category="schema", status="failed", findings=1)
    other = CheckResult(id="rows", title="r", category="integrity", status="failed", findings=1)
    page = html.page(
        report(
            checks=(schema, other),
            diagnostics=(
                Diagnostic(code="golden", severity="error", message="altered", hint="DROP;\nMAKE;"),
                Diagnostic(code="golden", severity="note", message="theirs"),
                Diagnostic(code="rows", severity="error", message="swapped", rows=1),
                Diagnostic(code="rows", severity="note", message="elsewhere"),
            ),
        )
    )
    found, apart = page.index("<h2>What was found"), page.index("<h2>Catalogue differences")
    assert found < page.index("swapped") < apart < page.index("altered") < page.index("theirs")
    assert page.index("theirs") < page.index("<h2>Checks") < page.index("elsewhere")
    assert "<code>DROP;</code><br><code>MAKE;</code>" in page
    assert "1 row<" in page


def test_what_to_do_next_stands_with_the_verdict() -> None:
    page = html.page(report(next=(Next(command="opssight-migrate status", why="look"),)))

    assert page.index("opssight-migrate status") < page.index("<h2>")


def test_a_good_report_says_so_and_has_no_findings() -> None:
    passed = CheckResult(id="x", title="x", category="audit", status="passed", findings=0)
    skipped = CheckResult(id="y", title="y", category="audit", status="skipped", findings=0)
    good = {"status": "ok", "exit_code": 0, "diagnostics": ()}
    page = html.page(report(**good, checks=(passed,)))
    partly = html.page(report(**good, checks=(passed, skipped)))

    assert "<h1>Everything is as it should be</h1>" in page
    assert '<div class="verdict good">' in page
    assert "What was found" not in page
    assert "<h1>Everything is as it should be (1 of 2 checks skipped)</h1>" in partly


def test_where_every_check_was_skipped_nothing_is_called_good() -> None:
    skipped = CheckResult(id="y", title="y", category="audit", status="skipped", findings=0)
    page = html.page(report(status="ok", exit_code=0, checks=(skipped,), diagnostics=()))

    assert "<h1>Nothing was checked</h1>" in page
    assert '<div class="verdict">' in page


def test_a_report_of_nothing_but_an_error_is_a_page_too() -> None:
    told = (Diagnostic(code="OM201", severity="error", message="no", state="nothing was changed"),)
    page = html.page(
        report(
            status="failed",
            environment=None,
            revision=None,
            proof=None,
            last_run=None,
            checks=(),
            diagnostics=told,
        )
    )

    assert "<h1>Failed</h1>" in page
    assert "nothing was changed" in page


def test_a_bar_shows_time_wait_and_forecast_on_one_scale() -> None:
    slow, quick = bars([step(took_ms=2_000), step("quick", took_ms=1)])

    assert (slow.width, slow.waited, slow.forecast) == (1000, 150, 500)
    assert quick.width == 2
    assert "300 ms of it for locks" in slow.said
    assert bars([step(took_ms=None)]) == []


def test_locks_of_one_transaction_were_waited_for_at_once() -> None:
    held = [("users", 300, 4), ("teams", 300, 4), ("users", 100, 2)]
    locks = tuple(
        LockReceipt(relation=name, mode="ACCESS EXCLUSIVE", waited_ms=waited, held_ms=held_ms)
        for name, waited, held_ms in held
    )
    (bar,) = bars([step(took_ms=2_000).model_copy(update={"locks": locks})])

    assert "400 ms of it for locks" in bar.said
