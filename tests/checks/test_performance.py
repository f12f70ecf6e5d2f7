"""The performance checks: slower by its plan is found, and what a busy machine does is not."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
from tests.checks.conftest import failures, outcome
from tests.conftest import DatabaseAt

from opssight_migrate.checks import queries_are_as_fast
from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.queries_are_as_fast import QueriesAreAsFast
from opssight_migrate.checks.queries_find_rows_by_index import QueriesFindRowsByIndex
from opssight_migrate.checks.server_has_room import ServerHasRoom
from opssight_migrate.engine import checker
from opssight_migrate.model.events import Event, QueryMeasured, ServerSeen
from opssight_migrate.opssight.queries import QUERIES, Query
from opssight_migrate.opssight.revisions import HEAD, START
from opssight_migrate.postgres import latency, server_load
from opssight_migrate.postgres.query_plans import QueryPlan, growth
from opssight_migrate.postgres.session import Session

ON_EVERY_SERVER = False
_BASELINE = """
UPDATE opssight_migrate.query_baselines SET fastest_us = -10000, plan = plan || %s::jsonb
 WHERE query_id = 'runs-by-status'
"""


def plan(shape: str, rows: int, **whole: int) -> QueryPlan:
    return QueryPlan(lines=(), shape=shape, tables=tuple(whole), rows=rows, whole=whole)


def said(session: Session) -> list[str]:
    return [one.message for one in outcome(QueriesAreAsFast(), session).findings]


def test_migrate_measures_every_query_of_its_start_before_it_begins(migrated: Session) -> None:
    kept = migrated.rows("SELECT query_id, median_us, plan FROM opssight_migrate.query_baselines")

    assert {one[0] for one in kept} == {q.id for q in QUERIES if q.needs == START}
    assert all(median > 0 and plan["lines"] for _, median, plan in kept)


def test_a_query_is_measured_with_its_plan_and_its_baseline(migrated: Session) -> None:
    heard: list[Event] = []
    list(
        checker.run_checks([QueriesAreAsFast()], CheckContext(session=migrated, emit=heard.append))
    )

    told = {one.query_id: one for one in heard if isinstance(one, QueryMeasured)}
    assert list(told) == [query.id for query in QUERIES]
    assert told["sign-in"].verdict == "as before"
    assert told["sign-in"].baseline_us is not None
    assert any("users" in line for line in told["sign-in"].baseline_plan)
    assert told["audit-of-table"].verdict == "no baseline"
    assert failures(QueriesAreAsFast(), migrated) == []


def test_without_a_baseline_it_says_so(populated: Session) -> None:
    assert said(populated) == ["no run of migrate has stored a baseline here"]


def test_slower_by_the_same_plan_over_the_same_pages_is_the_machine(migrated: Session) -> None:
    migrated.execute(_BASELINE, ("{}",))

    assert failures(QueriesAreAsFast(), migrated) == []
    assert any("the server is slower, or busy" in one for one in said(migrated))


def test_slower_by_another_plan_is_a_finding_with_both(migrated: Session) -> None:
    migrated.execute(_BASELINE, (json.dumps({"shape": "by magic", "lines": ["by magic"]}),))

    (found,) = failures(QueriesAreAsFast(), migrated)

    before, now = found.details
    assert (before.title, before.lines) == ("plan before", ("by magic",))
    assert now.lines[-1].strip().startswith("Seq Scan on pipeline_runs")
    assert "pipeline_runs" in (found.where or "")


def test_more_rows_under_the_same_plan_have_grown_and_a_lost_index_has_not() -> None:
    assert growth(plan("scan", 100), plan("scan", 250)) == 2.5
    assert growth(plan("scan", 100), plan("scan", 10)) == 1.0
    assert growth(plan("scan", 100, runs=100), plan("parallel scan", 300, runs=300)) == 3.0
    assert growth(plan("by index", 5), plan("scan", 60_000, runs=60_000)) == 1.0


def test_a_query_that_takes_too_long_is_cut_off_and_still_has_a_plan(
    migrated: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "LIMIT_MS", 20)
    slow = Query(id="slow", title="slow", sql="SELECT pg_sleep(1) FROM users LIMIT 1")
    with migrated.reading():
        found = latency.measure(migrated, slow, None)

    assert found.runs_us == (20_000,)
    assert found.plan.tables == ("users",)


def test_a_query_that_is_long_is_run_three_times_in_all_and_seldom_again(
    migrated: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[latency.Latency] = []
    measure = latency.measure

    def counted(session: Session, query: Query, key: int | None) -> latency.Latency:
        measured.append(measure(session, query, key))
        return measured[-1]

    monkeypatch.setattr(latency, "measure", counted)
    migrated.execute(_BASELINE, ("{}",))
    said(migrated)
    rounds = [one.runs_us for one in measured if one.query.id == "runs-by-status"]
    assert [len(runs) for runs in rounds] == [5, 5, 5]

    measured.clear()
    monkeypatch.setattr(latency, "_LONG_MS", 0.0)
    monkeypatch.setattr(queries_are_as_fast, "_AGAIN_S", 0.0)
    said(migrated)
    rounds = [one.runs_us for one in measured if one.query.id == "runs-by-status"]
    assert [len(runs) for runs in rounds] == [3, 3]


def test_a_table_that_somebody_holds_is_not_waited_for(migrated: Session, opened: object) -> None:
    with psycopg.connect(migrated.connection.info.dsn) as other:
        other.execute("LOCK TABLE notification_logs IN ACCESS EXCLUSIVE MODE")
        messages = said(migrated)

    assert any("notifications-of-user was not measured" in one for one in messages)


@pytest.mark.parametrize("revision", [START, HEAD])
def test_every_query_fits_the_schema_and_finds_its_rows_by_index(
    database_at: DatabaseAt, opened: Callable[[str], Session], revision: str
) -> None:
    session = opened(database_at(revision, filled=False))

    assert failures(QueriesFindRowsByIndex(), session) == []
    assert not [one for one in said(session) if "not measured" in one]


@pytest.mark.needs_further_grants("pg_monitor: it asks where the data directory is")
def test_the_server_of_this_machine_is_known_by_its_data_directory(migrated: Session) -> None:
    heard: list[Event] = []
    checks = [ServerHasRoom()]
    list(checker.run_checks(checks, CheckContext(session=migrated, emit=heard.append)))

    (seen,) = [one for one in heard if isinstance(one, ServerSeen)]
    assert 1 <= seen.connections < seen.connections_most
    assert seen.machine is not None
    assert 0 < seen.machine.available_bytes < seen.machine.memory_bytes


def test_what_is_not_ours_to_see_is_not_known(migrated: Session) -> None:
    assert server_load.machine(migrated) is None
