"""What TimescaleDB refuses is named before anything is tried, with what is done about it."""

from __future__ import annotations

from typing import LiteralString

import pytest
from tests.timescale import rows
from tests.timescale.conftest import ContextFor
from tests.timescale.test_conversion import ATTACH

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.model.events import Event, Noted
from opssight_migrate.postgres import hypertables, series_obstacles
from opssight_migrate.postgres.hypertables import Series
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import is_hypertable
from opssight_migrate.settings import TimeSeries
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries, series_of

_TRANSITION = (
    "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER each AFTER INSERT ON metrics REFERENCING NEW TABLE AS fresh"
    " FOR EACH ROW EXECUTE FUNCTION seen()"
)
_DISABLED = (
    "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER off AFTER INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION seen();"
    "ALTER TABLE metrics DISABLE TRIGGER off"
)
_REFUSED: tuple[tuple[LiteralString, str, str], ...] = (
    ("CREATE UNIQUE INDEX once ON metrics (value)", "unique index once", "DROP INDEX"),
    ("ALTER TABLE metrics ADD UNIQUE (value)", "unique index metrics_value_key", "DROP CONSTRAINT"),
    ("CREATE TABLE o (m int REFERENCES metrics)", "foreign key o_m_fkey of o", "DROP CONSTRAINT"),
    (
        "ALTER TABLE metrics ADD FOREIGN KEY (id) REFERENCES metrics (id)",
        "foreign key to itself metrics_id_fkey",
        "DROP CONSTRAINT",
    ),
    ("CREATE RULE r AS ON DELETE TO metrics DO INSTEAD NOTHING", "rule r", "DROP RULE r"),
    (_TRANSITION, "row trigger with a transition table each", "DROP TRIGGER each"),
    ("CREATE TABLE child () INHERITS (metrics)", "inheritance: child child", "NO INHERIT"),
    (
        "CREATE TABLE p (id int NOT NULL); ALTER TABLE metrics INHERIT p",
        "inheritance: parent p",
        "NO INHERIT p",
    ),
    ("CREATE PUBLICATION pub FOR TABLE metrics", "publication pub", "out of publication pub"),
    ("ALTER TABLE metrics SET UNLOGGED", "it is unlogged", "SET LOGGED"),
)
_STAYING: tuple[tuple[LiteralString, str], ...] = (
    ("CREATE MATERIALIZED VIEW mv AS SELECT id FROM metrics", "materialized view mv"),
    (
        "CREATE FUNCTION f(metrics) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "function f(metrics)",
    ),
    ("CREATE TABLE kept (m metrics)", "column kept.m of its row type"),
    (
        "ALTER TABLE metrics ADD COLUMN n int GENERATED ALWAYS AS IDENTITY",
        "identity column n",
    ),
)


def _of(session: Session, *, keeps_table: bool) -> dict[str, str]:
    found = series_obstacles.of(
        session, "metrics", "timestamp", keeps_table=keeps_table, compresses=True
    )
    return {one.what: one.remedy for one in found if one.stops}


@pytest.mark.parametrize(("made", "what", "remedy"), _REFUSED)
def test_what_the_extension_refuses_is_named_with_the_sql_that_removes_it(
    timescale: Session, made: LiteralString, what: str, remedy: str
) -> None:
    with timescale.trying():
        timescale.execute(made)
        found = _of(timescale, keeps_table=True)
        series = series_of(TimeSeries())[0]

        (name,) = (one for one in found if one.startswith(what))
        assert remedy in found[name]
        with pytest.raises(MigrateError), timescale.writing():
            _converted(timescale, series)


def _converted(session: Session, series: Series) -> None:
    hypertables.widen_key(session, series)
    hypertables.make(session, series)


def test_a_disabled_trigger_would_fire_on_chunks_and_is_in_the_way(timescale: Session) -> None:
    with timescale.trying():
        timescale.execute(_DISABLED)

        found = _of(timescale, keeps_table=True)

    assert list(found) == ["trigger that is not just enabled off"]


@pytest.mark.parametrize(("made", "what"), _STAYING)
def test_what_stands_on_the_table_itself_is_in_the_way_of_adoption_only(
    timescale: Session, made: LiteralString, what: str
) -> None:
    with timescale.trying():
        timescale.execute(made)

        assert list(_of(timescale, keeps_table=False)) == [what]
        assert _of(timescale, keeps_table=True) == {}
        _converted(timescale, series_of(TimeSeries())[0])


def test_a_table_with_an_obstacle_stays_plain_and_the_other_is_converted(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 100)
    timescale.execute("CREATE RULE r AS ON DELETE TO metrics DO INSTEAD NOTHING")
    events: list[Event] = []
    ctx = context_for(events.append, **ATTACH)
    with timescale.reading():
        estimate = SetUpTimeSeries().estimate(ctx)

    SetUpTimeSeries().apply(ctx)

    assert any("metrics, rule r: the table stays plain until" in note for note in estimate.notes)
    assert any("log_entries: it becomes a chunk as it is" in note for note in estimate.notes)
    assert any("primary key (id): becomes (id, timestamp)" in note for note in estimate.notes)
    noted = [event for event in events if isinstance(event, Noted)]
    assert [(note.code, note.message) for note in noted] == [
        ("OM312", "metrics stays a plain table: rule r")
    ]
    assert not is_hypertable(timescale, "metrics")
    assert is_hypertable(timescale, "log_entries")
    with timescale.reading():
        assert not SetUpTimeSeries().is_pending(ctx)
    timescale.execute("DROP RULE r ON metrics")
    with timescale.reading():
        assert SetUpTimeSeries().is_pending(ctx)


def test_the_engine_timescaledb_refuses_what_auto_leaves_plain(
    timescale: Session, context_for: ContextFor
) -> None:
    timescale.execute("CREATE RULE r AS ON DELETE TO metrics DO INSTEAD NOTHING")

    with timescale.reading():
        (found,) = SetUpTimeSeries().preconditions(context_for(engine="timescaledb"))

    assert found.message == "metrics: rule r"
    assert "DROP RULE r" in str(found.hint)
