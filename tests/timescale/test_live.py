"""What needs several connections, on a real Community server: OPSSIGHT_TEST_TIMESCALE_URL.

OPSSIGHT_TEST_TIMESCALE_ROWS makes it smaller. Every test makes a database of its own and drops it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from psycopg import sql
from tests.conftest import SettingsFor
from tests.steps.conftest import context, run
from tests.timescale import live, rows, series_traffic

from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.series_policies_are_as_configured import (
    SeriesPoliciesAreAsConfigured,
)
from opssight_migrate.checks.time_buckets_answer import TimeBucketsAnswer
from opssight_migrate.checks.time_series_are_hypertables import TimeSeriesAreHypertables
from opssight_migrate.engine.checker import run_checks
from opssight_migrate.model.events import Event, LockTaken, StatementStarted
from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres import digest, hypertables, timescale
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

pytestmark = pytest.mark.needs_timescale
_CHECKS = (TimeSeriesAreHypertables(), SeriesPoliciesAreAsConfigured(), TimeBucketsAnswer())
_WAL = "SELECT (pg_current_wal_lsn() - '0/0')::int8"
_QUIET_S = 10.0


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


def complaints(session: Session) -> list[str]:
    """Return what verify's category time-series finds, with a probe."""
    ctx = CheckContext(session=session, probing=True)
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
        with series_traffic.driving(database) as driven:
            time.sleep(_QUIET_S)
            began = time.monotonic()
            report = run(settings_for(database))
            ended = time.monotonic()
        traffic = driven.ended
        keys = list(traffic.written["metrics"])

        assert (report.status, report.exit_code) == ("ok", 0)
        assert traffic.failed == ()
        alone = traffic.within(0.0, began - 0.5).latencies()
        beside = traffic.within(began, ended).latencies()
        assert alone.statements > 0
        assert beside.statements > 0
        assert beside.worst_ms <= alone.worst_ms + 100, traffic.slowest()
        assert hypertables.adopted(session, "metrics") is not None
        assert digest_until(session, last) == before
        kept = "SELECT count(*) FROM metrics WHERE id = ANY(%s)"
        assert session.scalar(kept, (keys,)) == len(keys)
        assert complaints(session) == []


def test_the_attach_writes_less_than_5_mb_of_wal_and_leads_back_within_100_ms_of_lock(
    database: str, settings_for: SettingsFor
) -> None:
    events: list[Event] = []
    settings = settings_for(database)
    with live.connected(database) as session, live.connected(database) as second:
        before = rows.digests(session)
        wal: dict[str, int] = {}

        def hear(event: Event) -> None:
            events.append(event)
            if isinstance(event, StatementStarted) and event.what == "HYPERTABLE metrics":
                wal["before"] = int(second.scalar(_WAL))
            if isinstance(event, StatementStarted) and "log_entries_pkey" in event.what:
                wal["after"] = int(second.scalar(_WAL))

        SetUpTimeSeries().apply(context(session, settings, hear))

        assert wal["after"] - wal["before"] < 5_000_000
        assert rows.digests(session) == before
        key = rows.write_metric(session, "2031-01-01")
        events.clear()

        SetUpTimeSeries().undo(context(session, settings, hear))

        held = [one.held_ms for one in events if isinstance(one, LockTaken)]
        assert held
        assert max(held) < 100
        assert not timescale.is_hypertable(session, "metrics")
        session.execute("DELETE FROM metrics WHERE id = %s", (key,))
        assert rows.digests(session) == before


def test_policies_compress_and_compressed_chunks_answer(settings_for: SettingsFor) -> None:
    with live.database(os.environ[live.URL]) as conninfo, live.connected(conninfo) as session:
        rows.fill(session, 10_000)
        before = rows.digests(session)
        run(settings_for(conninfo))
        assert complaints(session) == []

        for (job,) in session.rows(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'"
        ):
            call = timescale.function(session, "run_job")
            session.execute(sql.SQL("CALL {}(%s)").format(call), (job,))

        compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
        assert session.scalar(compressed) > 1
        assert rows.digests(session) == before
        assert complaints(session) == []
