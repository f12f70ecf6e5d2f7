"""TimescaleDB comes after the migration: the next run finishes the work; a rollback undoes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.conftest import SettingsFor
from tests.steps.conftest import FACTS
from tests.timescale import rows, wasm
from tests.timescale.conftest import OneConnection, connected
from tests.timescale.test_conversion import ATTACH, failures

from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.planner import prospect
from opssight_migrate.engine.retreat import retreat
from opssight_migrate.engine.runner import Runner
from opssight_migrate.engine.unwinder import Unwinder
from opssight_migrate.model.events import Event, Noted
from opssight_migrate.model.plan import Undo
from opssight_migrate.opssight.revisions import AUDIT, RBAC
from opssight_migrate.postgres import (
    archive,
    carried,
    catalog,
    connect,
    hypertables,
    journal,
    marker,
    past_runs,
    timescale,
)
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries


def _installed(session: Session) -> None:
    with session.writing():
        journal.install(session)
        marker.mark(session, "test", connect.facts(session), adopt=False)


def _run(ctx: OneConnection) -> str:
    """Carry the step out as ``migrate`` does, over the one session; return the run."""
    _installed(ctx.session)
    book = Journal.begin(ctx.session, replace(FACTS, revision_from=AUDIT))
    made = Runner(ctx=ctx, journal=book, governor=Governor(()), target_s=0.04)
    replace(made, ctx=replace(ctx, emit=made.hear)).run((SetUpTimeSeries(),), ())
    book.end("ok")
    return book.run_id


def _undone(ctx: OneConnection, target: str, run_id: str | None = None) -> list[str]:
    """Roll back as the verb does, over the one session; return the steps that were undone."""
    session = ctx.session
    _installed(session)
    worked_on = None
    if run_id is not None:
        target, obstacles = past_runs.before(session, run_id)
        assert obstacles == ()
        worked_on = past_runs.worked_on(session, run_id)
    back = retreat(ctx, target, worked_on=worked_on)
    assert back.plan.blockers == ()
    book = Journal.begin(session, replace(FACTS, command="rollback", revision_to=target))
    made = Unwinder(ctx=ctx, journal=book)
    drive = replace(ctx.drive, on_stamp=made.on_stamp, emit=made.hear)
    replace(made, ctx=replace(ctx, drive=drive, emit=made.hear)).run(back)
    book.end("ok")
    return [step.id for step in back.steps]


def _context(session: Session, settings_for: SettingsFor, events: list[Event]) -> OneConnection:
    settings = settings_for(
        "host=unused",
        defaults=ATTACH["defaults"],
        time_series={"cut_over": "atomic"},
    )
    return OneConnection(
        session=session,
        profile=settings.profile(None),
        drive=Drive(session=session, emit=events.append),
        emit=events.append,
    )


def test_a_database_that_came_without_it_is_finished_by_the_next_run_and_goes_back_whole(
    opssight_data: Path, settings_for: SettingsFor
) -> None:
    events: list[Event] = []
    with wasm.serving(opssight_data) as served, connected(served) as session:
        rows.fill(session, 200)
        before = rows.digests(session)
        ctx = _context(session, settings_for, events)
        SetUpTimeSeries().apply(ctx)
        (note,) = (event for event in events if isinstance(event, Noted))
        assert note.message.startswith("hypertables are skipped: TimescaleDB 2.23")
        assert failures(ctx) == []

        session.execute("CREATE EXTENSION timescaledb")
        assert failures(ctx) == ["metrics is not a hypertable", "log_entries is not a hypertable"]
        SetUpTimeSeries().apply(ctx)

        assert failures(ctx) == []
        assert hypertables.adopted(session, "metrics") is not None
        assert rows.digests(session) == before
        rows.write_metric(session, "2031-01-01")

        undone = _undone(ctx, RBAC)

        assert undone[-2:] == ["set-up-time-series", "b521a10e8182"]
        assert catalog.current_revision(session) == RBAC
        kept = {entry.name: archive.rows_of(session, entry) for entry in archive.entries(session)}
        assert kept["metrics"] == 201
        assert kept["log_entries"] == 200


def test_a_run_that_only_made_hypertables_is_undone_and_what_an_earlier_one_made_stays(
    opssight_data: Path, settings_for: SettingsFor
) -> None:
    with wasm.serving(opssight_data) as served, connected(served) as session:
        rows.fill(session, 200)
        session.execute("CREATE EXTENSION timescaledb")
        session.execute("CREATE RULE r AS ON DELETE TO metrics DO INSTEAD NOTHING")
        ctx = _context(session, settings_for, [])
        before = carried.pieces(session, "metrics"), rows.digests(session)
        first = _run(ctx)
        session.execute("DROP RULE r ON metrics")
        planned = {step.step_id: step.undo for step in prospect(ctx, AUDIT).plan.steps}
        second = _run(ctx)
        assert [timescale.is_hypertable(session, one) for one in rows.SERIES] == [True, True]

        undone = _undone(ctx, "", second)

        assert planned["set-up-time-series"] is Undo.EXACT
        assert undone == ["set-up-time-series"]
        assert [timescale.is_hypertable(session, one) for one in rows.SERIES] == [False, True]
        assert (carried.pieces(session, "metrics"), rows.digests(session)) == before
        assert catalog.current_revision(session) == AUDIT
        [later] = past_runs.before(session, first)[1]
        assert f"came after run {first}" in later.message
