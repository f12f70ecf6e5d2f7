"""What needs several connections, on a real Community server: OPSSIGHT_TEST_TIMESCALE_URL.

The URL is a superuser's, of a server with TimescaleDB in shared_preload_libraries. Every test makes
a database of its own and drops it. OPSSIGHT_TEST_TIMESCALE_ROWS makes it smaller than 2 million
rows a table, down to 100,000; above 500,000 nobody waits for the scan of a table that is attached.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.test_cleanup import clean
from tests.commands.test_rollback import go_back
from tests.commands.test_rollback_data import backed_up, dropped, restored
from tests.conftest import SettingsFor
from tests.load.traffic import Traffic
from tests.steps.conftest import context, run
from tests.timescale import live, rows, series_traffic

from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.series_policies_are_as_configured import (
    SeriesPoliciesAreAsConfigured,
)
from opssight_migrate.checks.time_buckets_answer import TimeBucketsAnswer
from opssight_migrate.checks.time_series_are_hypertables import TimeSeriesAreHypertables
from opssight_migrate.commands.rollback import RollbackRequest
from opssight_migrate.engine.checker import run_checks
from opssight_migrate.model.events import Event, LockTaken, StatementStarted
from opssight_migrate.model.plan import Severity
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.revisions import RBAC
from opssight_migrate.postgres import digest, hypertables, series_policies, timescale
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

pytestmark = pytest.mark.needs_timescale
_CHECKS = (TimeSeriesAreHypertables(), SeriesPoliciesAreAsConfigured(), TimeBucketsAnswer())
_WAL = "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8"
_KEY_OF_CHUNK = "opssight_series.metrics_pkey"
_QUIET_S = 10.0
_OUR_JOBS = """
SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'
"""
_SCHEDULER = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                  AND backend_type ILIKE '%timescaledb%scheduler%')
"""


@pytest.fixture(scope="module", autouse=True)
def usable() -> None:
    """Say at once what the server lacks."""
    if reason := live.why_unusable(os.environ[live.URL]):
        pytest.fail(f"{live.URL}: {reason}")


@pytest.fixture
def database() -> Iterator[str]:
    """A database with OpsSight at 80bd6a3c3fa1, its series filled."""
    with live.database(os.environ[live.URL]) as conninfo:
        live.filled(conninfo)
        yield conninfo


def digest_until(session: Session, last: int) -> tuple[int, str]:
    """Digest the metrics up to an id."""
    columns = digest.columns_by_table(session, ["metrics"])["metrics"]
    found = digest.digest_table(session, "metrics", columns, lo=1, hi=last + 1)
    return found.rows, found.value


def kept(session: Session, traffic: Traffic) -> bool:
    """Tell whether every metric is there whose INSERT was answered."""
    keys = list(traffic.written["metrics"])
    query = "SELECT count(*) FROM metrics WHERE id = ANY(%s)"
    return bool(keys) and session.scalar(query, (keys,)) == len(keys)


def under_load(
    database: str, work: Callable[[], Report]
) -> tuple[Report, Traffic, dict[str, float]]:
    """Do ``work`` while others write and read.

    Return its report, the load, and by how many milliseconds the worst latency beside it is above
    the load's own: by kind of statement, and of all.
    """
    with series_traffic.driving(database) as driven:
        time.sleep(_QUIET_S)
        began = time.monotonic()
        report = work()
        ended = time.monotonic()
    alone = driven.ended.within(0.0, began - 0.5)
    beside = driven.ended.within(began, ended)
    above: dict[str, float] = {}
    for kind in (None, *series_traffic.KINDS):
        assert alone.latencies(kind).statements > 0
        assert beside.latencies(kind).statements > 0
        worst_ms = beside.latencies(kind).worst_ms - alone.latencies(kind).worst_ms
        above[kind or "all"] = worst_ms
    print(f"worst latency above the load's own, in ms: {above}")  # noqa: T201 (for pytest -s)
    return report, driven.ended, above


def wal_of_metrics(marks: list[tuple[str, int]]) -> tuple[int, int]:
    """Return the bytes of WAL of the index of the new key, and of all else, for ``metrics``."""
    spent = [(what, after - before) for (what, before), (_, after) in pairwise(marks)]
    names = [what for what, _ in spent]
    ours = spent[: names.index("CREATE INDEX log_entries_pkey_with_time")]
    index = dict(ours)["CREATE INDEX metrics_pkey_with_time"]
    return index, sum(size for _, size in ours) - index


def run_jobs(session: Session) -> None:
    """Run each compression job once, while no scheduler does."""
    live.alone(session)
    call = sql.SQL("CALL {}(%s)").format(timescale.function(session, "run_job"))
    jobs = session.rows(_OUR_JOBS)
    assert len(jobs) == 2
    for (job,) in jobs:
        session.execute(call, (job,))


def schedules(session: Session) -> bool:
    """Tell whether the scheduler of the session's database runs, or will in a moment."""
    patience = time.monotonic() + 20
    while not session.scalar(_SCHEDULER) and time.monotonic() < patience:
        time.sleep(0.2)
    return bool(session.scalar(_SCHEDULER))


def complaints(session: Session, settings: Settings) -> list[str]:
    """Return what verify's category time-series finds, with a probe."""
    ctx = CheckContext(session=session, time_series=settings.time_series, probing=True)
    return [
        finding.message
        for outcome in run_checks(_CHECKS, ctx)
        for finding in outcome.findings
        if finding.severity is not Severity.NOTE
    ]


def test_a_busy_table_is_attached_and_nobody_notices(
    database: str, settings_for: SettingsFor
) -> None:
    with live.connected(database) as session:
        last = int(session.scalar("SELECT max(id) FROM metrics"))
        before = digest_until(session, last)
        settings = settings_for(database)
        report, traffic, beside = under_load(database, lambda: run(settings))

        assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
        assert traffic.failed == ()
        assert beside["all"] <= 100, traffic.slowest()
        assert hypertables.adopted(session, "metrics") is not None
        assert digest_until(session, last) == before
        assert kept(session, traffic)
        assert complaints(session, settings) == []


def test_the_attach_writes_less_than_5_mb_of_wal_and_leads_back_within_100_ms_of_lock(
    database: str, settings_for: SettingsFor
) -> None:
    events: list[Event] = []
    settings = settings_for(database)
    with live.connected(database) as session, live.connected(database) as second:
        before = rows.digests(session)
        marks: list[tuple[str, int]] = []

        def hear(event: Event) -> None:
            events.append(event)
            if isinstance(event, StatementStarted):
                marks.append((event.what, int(second.scalar(_WAL))))

        SetUpTimeSeries().apply(context(session, settings, hear))

        # The index of the new key is built beforehand, while everybody works on: its WAL is its
        # own size, whichever way the table then goes. The way itself is all that follows.
        index, way = wal_of_metrics(marks)
        size = int(session.scalar("SELECT pg_relation_size(%s::regclass)", (_KEY_OF_CHUNK,)))
        print(f"WAL: {index:,} for the index of {size:,}, {way:,} for the attach")  # noqa: T201
        assert way < 5_000_000
        assert index < size * 1.2 + 1_000_000
        assert rows.digests(session) == before
        key = rows.write_metric(session, "2031-01-01")
        events.clear()

        SetUpTimeSeries().undo(context(session, settings, hear))

        held: dict[str, list[int]] = {}
        for one in events:
            if isinstance(one, LockTaken) and one.mode == "ACCESS EXCLUSIVE":
                held.setdefault(one.relation, []).append(one.held_ms)
        print(f"undo: tables locked for so many ms: {held}")  # noqa: T201
        assert sum(held["metrics"]) < 100
        assert max(map(max, held.values())) < 100
        assert not timescale.is_hypertable(session, "metrics")
        session.execute("DELETE FROM metrics WHERE id = %s", (key,))
        assert rows.digests(session) == before


def test_the_way_back_fails_no_statement_and_keeps_what_is_written_meanwhile(
    settings_for: SettingsFor,
) -> None:
    with live.database(os.environ[live.URL]) as conninfo, live.connected(conninfo) as session:
        live.filled(conninfo, 100_000)
        last = int(session.scalar("SELECT max(id) FROM metrics"))
        before = digest_until(session, last)
        settings = settings_for(conninfo)
        there = run(settings)
        assert (there.status, there.exit_code) == ("ok", 0), there.diagnostics
        assert hypertables.adopted(session, "metrics") is not None

        def back() -> Report:
            SetUpTimeSeries().undo(context(session, settings))
            return there

        _, traffic, _ = under_load(conninfo, back)

        assert traffic.failed == ()
        assert not timescale.is_hypertable(session, "metrics")
        assert digest_until(session, last) == before
        assert kept(session, traffic)


def test_a_role_that_may_not_create_the_extension_is_told_who_may() -> None:
    role = sql.Identifier(f"opssight_{uuid4().hex[:12]}")
    with live.database(os.environ[live.URL]) as conninfo, live.connected(conninfo) as session:
        session.execute("DROP EXTENSION IF EXISTS timescaledb")
        session.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            session.execute(sql.SQL("SET ROLE {}").format(role))
            offer = timescale.offered(session)
        finally:
            session.execute("RESET ROLE")
            session.execute(sql.SQL("DROP ROLE {}").format(role))

    assert str(offer.reason).endswith("is available and this role may not create it")
    assert str(offer.hint).startswith("as a superuser: CREATE EXTENSION timescaledb")


def test_policies_compress_and_compressed_chunks_answer(settings_for: SettingsFor) -> None:
    with live.database(os.environ[live.URL]) as conninfo, live.connected(conninfo) as session:
        live.filled(conninfo, 10_000)
        before = rows.digests(session)
        settings = settings_for(conninfo)
        report = run(settings)
        assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
        assert complaints(session, settings) == []

        run_jobs(session)

        compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
        assert session.scalar(compressed) > 1
        assert rows.digests(session) == before
        assert complaints(session, settings) == []


def test_cleanup_splits_and_compresses_a_busy_table_whose_chunks_answer_and_go_back(
    database: str, settings_for: SettingsFor
) -> None:
    at_once = {"metrics": "1s", "log_entries": "1s"}
    settings = settings_for(database, time_series={"compress_after": at_once})
    with live.connected(database) as session:
        last = int(session.scalar("SELECT max(id) FROM metrics"))
        before = digest_until(session, last)
        assert run(settings).status == "ok"
        assert series_policies.read(session, "metrics").held
        time.sleep(2.0)

        report, traffic, beside = under_load(database, lambda: clean(settings, "chunks"))

        assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
        assert traffic.failed == ()
        # A row that is looked for by its id alone is looked for in compressed chunks now.
        assert max(beside["insert"], beside["newest"]) <= 100, traffic.slowest()
        compressed = [one.compressed for one in hypertables.chunks(session, "metrics")]
        assert compressed.count(True) > 1
        assert not series_policies.read(session, "metrics").held
        assert digest_until(session, last) == before
        assert complaints(session, settings) == []

        planned = go_back(settings, RollbackRequest(to_revision=RBAC, dry_run=True))
        SetUpTimeSeries().undo(context(session, settings))

        assert any("are copied back in batches" in one for one in planned.announcements)
        assert not timescale.is_hypertable(session, "metrics")
        assert digest_until(session, last) == before
        assert kept(session, traffic)


def test_what_was_added_later_is_finished_by_migrate_and_undone_by_its_run(
    settings_for: SettingsFor,
) -> None:
    with live.database(os.environ[live.URL]) as conninfo, live.connected(conninfo) as session:
        session.execute("DROP EXTENSION IF EXISTS timescaledb")
        rows.fill(session, 50_000)
        session.execute("ANALYZE")
        plain = settings_for(conninfo, time_series={"engine": "plain"})
        skipped = run(plain)
        assert (skipped.status, skipped.exit_code) == ("ok", 0), skipped.diagnostics
        before = rows.digests(session)
        settings = settings_for(conninfo)

        report = run(settings)

        assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
        assert hypertables.adopted(session, "metrics") is not None
        assert [step.reversible for step in report.steps] == ["exact"]
        assert rows.digests(session) == before

        back = go_back(settings, RollbackRequest(run=report.run_id))

        assert (back.status, back.exit_code) == ("ok", 0), back.diagnostics
        assert [step.id for step in back.steps] == ["set-up-time-series"]
        assert not timescale.is_hypertable(session, "metrics")
        assert rows.digests(session) == before


def test_a_data_rollback_brings_hypertables_back_whose_jobs_run(
    settings_for: SettingsFor, tmp_path: Path
) -> None:
    key = new_key()
    (tmp_path / "identity.txt").write_text(key.text)
    with live.database(os.environ[live.URL]) as conninfo:
        environment = {
            "url": conninfo,
            "backup_dir": str(tmp_path / "shelf"),
            "backup_recipients": [key.public],
            "backup_identity_command": f"cat {tmp_path / 'identity.txt'}",
        }
        settings = settings_for("", environments={"test": environment})
        with live.connected(conninfo) as session:
            live.filled(conninfo, 10_000)
            assert run(settings).status == "ok"
            before = rows.digests(session)
            chunks = len(hypertables.chunks(session, "metrics"))
        path = backed_up(settings)
        with live.connected(conninfo) as session:
            session.execute("DELETE FROM metrics")
            drop = sql.SQL("SELECT {}('log_entries', older_than => now())")
            session.execute(drop.format(timescale.function(session, "drop_chunks")))
            assert session.scalar("SELECT count(*) FROM log_entries") < 10_000

        report = restored(settings, path, terminates=True)

        assert report.exit_code == 0, report.diagnostics
        with live.connected(conninfo) as session:
            assert rows.digests(session) == before
            assert len(hypertables.chunks(session, "metrics")) == chunks
            assert complaints(session, settings) == []
            assert session.scalar("SELECT current_setting('timescaledb.restoring')") == "off"
            assert schedules(session)
            run_jobs(session)
            assert rows.digests(session) == before
        dropped(conninfo, *report.retired)
