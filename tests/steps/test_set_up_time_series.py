"""set-up-time-series on plain PostgreSQL: the run says what is left out, and goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conftest import DatabaseAt, SettingsFor
from tests.steps.conftest import apply_step, blockers, context, estimated, row_versions, run

from opssight_migrate.model.events import Event, Noted
from opssight_migrate.opssight.revisions import AUDIT, RBAC, TIME_SERIES
from opssight_migrate.postgres import catalog, reader
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

Opened = Callable[[str], Session]


def notes_in(events: list[Event]) -> list[Noted]:
    """Return what the operator was told."""
    return [event for event in events if isinstance(event, Noted)]


@pytest.fixture
def plain(database_at: DatabaseAt, opened: Opened) -> Session:
    """A filled OpsSight at b521a10e8182 on a server without TimescaleDB."""
    return opened(database_at(TIME_SERIES))


def test_a_server_without_timescaledb_is_told_with_the_way_to_get_it(
    plain: Session, settings_for: SettingsFor
) -> None:
    events: list[Event] = []

    apply_step(SetUpTimeSeries(), plain, settings_for("host=unused"), events.append)

    assert [(note.severity, note.code, note.message) for note in notes_in(events)] == [
        ("warning", "OM310", "hypertables are skipped: TimescaleDB is not on this server")
    ]
    assert "timescaledb-2-postgresql" in str(notes_in(events)[0].hint)


def test_the_plan_says_that_hypertables_are_left_out(
    plain: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")

    assert estimated(SetUpTimeSeries(), plain, settings).notes == (
        "time series: TimescaleDB is not on this server",
    )
    assert blockers(SetUpTimeSeries(), plain, settings) == []


def test_the_engine_plain_leaves_them_out_for_its_own_reason(
    plain: Session, settings_for: SettingsFor
) -> None:
    events: list[Event] = []
    settings = settings_for("host=unused", time_series={"engine": "plain"})

    apply_step(SetUpTimeSeries(), plain, settings, events.append)

    assert [(note.code, note.message, note.hint) for note in notes_in(events)] == [
        ("OM310", "hypertables are skipped: time_series.engine is plain", None)
    ]


def test_neither_once_nor_twice_does_it_change_rows_or_catalogue(
    plain: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    rows, schema = row_versions(plain), reader.read_catalogue(plain)

    for _ in range(2):
        apply_step(SetUpTimeSeries(), plain, settings)

    assert row_versions(plain) == rows
    assert reader.read_catalogue(plain) == schema


def test_it_is_not_pending_where_the_server_cannot_give_more(
    plain: Session, settings_for: SettingsFor
) -> None:
    with plain.reading():
        assert not SetUpTimeSeries().is_pending(context(plain, settings_for("host=unused")))


def test_the_run_continues_to_the_target_and_its_report_has_the_warning(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(RBAC)
    settings = settings_for(conninfo)

    report = run(settings)

    session = opened(conninfo)
    assert (report.status, report.exit_code) == ("ok", 0)
    assert catalog.current_revision(session) == AUDIT
    assert [(d.severity, d.code) for d in report.diagnostics] == [("warning", "OM310")]
