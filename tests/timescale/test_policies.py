"""Policies are settings: made, read back, compared, changed by running again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from tests.steps.conftest import PullThePlugError
from tests.timescale import rows
from tests.timescale.conftest import ContextFor
from tests.timescale.test_conversion import ATTACH, convert, failures

from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.series_policies_are_as_configured import (
    SeriesPoliciesAreAsConfigured,
)
from opssight_migrate.checks.time_buckets_answer import TimeBucketsAnswer
from opssight_migrate.checks.time_series_are_hypertables import TimeSeriesAreHypertables
from opssight_migrate.engine.checker import run_checks
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.postgres import series_policies
from opssight_migrate.postgres.series_policies import Policies
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.settings import TimeSeries
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

_ALL = (TimeSeriesAreHypertables(), SeriesPoliciesAreAsConfigured(), TimeBucketsAnswer())
_DAYS = timedelta(days=1)


def found(
    session: Session, settings: TimeSeries | None = None, *, probing: bool = False
) -> Sequence[Finding]:
    ctx = CheckContext(session=session, time_series=settings or TimeSeries(), probing=probing)
    return [finding for outcome in run_checks(_ALL, ctx) for finding in outcome.findings]


def told(findings: Sequence[Finding]) -> list[str]:
    return [one.message for one in findings if one.severity is not Severity.NOTE]


def test_the_defaults_are_set_and_another_setting_changes_them(
    timescale: Session, context_for: ContextFor
) -> None:
    convert(context_for())

    assert series_policies.read(timescale, "log_entries") == Policies(
        chunk_interval=7 * _DAYS,
        compress_after=3 * _DAYS,
        segment_by="organization_id",
        order_by="timestamp DESC",
    )
    again = {
        "chunk_interval": "1d",
        "compress_after": {"metrics": "14d"},
        "segment_by": "metric_name",
        "order_by": "timestamp ASC",
        "retain": {"metrics": "365d"},
    }
    ctx = context_for(**again)
    assert len(failures(ctx)) == 8
    convert(context_for(**{**again, "segment_by": "organization_id"}))
    assert series_policies.read(timescale, "metrics") == Policies(
        chunk_interval=_DAYS,
        compress_after=14 * _DAYS,
        segment_by="organization_id",
        order_by="timestamp",
        retain=365 * _DAYS,
    )
    convert(context_for())
    assert series_policies.read(timescale, "metrics").retain is None


def test_a_job_that_is_to_wait_is_seen_by_nobody_before_it_is_held(
    timescale: Session, context_for: ContextFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(timescale, 100)

    def fail(*_: object, **__: object) -> None:
        raise PullThePlugError

    monkeypatch.setattr(series_policies, "_schedule", fail)
    with pytest.raises(PullThePlugError):
        convert(context_for(**ATTACH))

    assert series_policies.read(timescale, "metrics").compress_after is None
    monkeypatch.undo()
    convert(context_for(**ATTACH))
    assert series_policies.read(timescale, "metrics").held


def test_an_older_version_is_spoken_to_by_the_names_of_compression(
    timescale: Session, context_for: ContextFor
) -> None:
    convert(context_for())
    old = Offer(installed="2.17.0", reason=None, licence="timescale", has_columnstore=False)
    wanted = Policies(
        chunk_interval=2 * _DAYS,
        compress_after=9 * _DAYS,
        segment_by="metric_name",
        order_by="timestamp",
    )
    door = context_for().door

    for _ in range(2):
        series_policies.settle(timescale, door, old, "metrics", wanted)

    assert series_policies.read(timescale, "metrics") == wanted


def test_the_apache_licence_has_the_interval_and_neither_compression_nor_retention(
    timescale: Session,
) -> None:
    wanted = series_policies.configured(TimeSeries(), "metrics", held=False)
    apache = Offer(installed="2.23.0", reason=None, licence="apache")

    possible = series_policies.possible(timescale, apache, "metrics", wanted)

    assert possible == Policies(chunk_interval=7 * _DAYS)


def test_policies_wait_while_the_adopted_chunk_is_whole(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    convert(context_for(**ATTACH))

    assert series_policies.read(timescale, "metrics").held
    findings = found(timescale)
    assert told(findings) == []
    assert any("policies wait while it is whole" in one.message for one in findings)


def test_verify_names_what_somebody_changed_behind_the_settings(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    assert told(found(timescale)) == [
        "metrics is not a hypertable",
        "log_entries is not a hypertable",
    ]
    convert(context_for())
    assert told(found(timescale, probing=True)) == []

    timescale.execute("CALL timescale.remove_columnstore_policy('metrics')")
    timescale.execute("SELECT timescale.add_retention_policy('metrics', interval '1 year')")
    timescale.execute("SELECT timescale.set_chunk_time_interval('log_entries', interval '3 days')")

    assert told(found(timescale)) == [
        "metrics: compression after is off, not 7 days",
        "metrics: retention is 365 days, not off",
        "log_entries: chunk interval is 3 days, not 7 days",
    ]


def test_a_probe_moves_no_sequence_and_leaves_no_row(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    convert(context_for())
    before = timescale.rows("SELECT last_value FROM metrics_id_seq"), rows.digests(timescale)

    assert told(found(timescale, probing=True)) == []

    after = timescale.rows("SELECT last_value FROM metrics_id_seq"), rows.digests(timescale)
    assert after == before


def test_row_security_is_kept_and_such_a_table_not_compressed(
    timescale: Session, context_for: ContextFor
) -> None:
    timescale.execute("ALTER TABLE metrics ENABLE ROW LEVEL SECURITY")
    ctx = context_for()
    with timescale.reading():
        notes = SetUpTimeSeries().estimate(ctx).notes

    convert(ctx)

    assert any("row security: kept" in note for note in notes)
    assert series_policies.read(timescale, "metrics").compress_after is None
    assert told(found(timescale)) == []


@pytest.mark.parametrize("table", rows.SERIES)
def test_a_compressed_chunk_answers_like_any_other(
    timescale: Session, context_for: ContextFor, table: str
) -> None:
    rows.fill(timescale, 400)
    before = rows.digests(timescale)
    convert(context_for())
    job = timescale.scalar(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = %s", (table,)
    )

    timescale.execute("CALL timescale.run_job(%s)", (job,))

    compressed = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
    assert timescale.scalar(compressed) > 1
    assert rows.digests(timescale) == before
    assert told(found(timescale)) == []
