"""What hangs on a table follows it: triggers, grants, policies, keys both ways, views, comments."""

from __future__ import annotations

from typing import Any, LiteralString

import pytest
from tests.timescale import rows
from tests.timescale.conftest import ContextFor
from tests.timescale.test_conversion import ATTACH, convert

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.postgres import adoption, carried, hypertables
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

_HANGING: tuple[LiteralString, ...] = (
    "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN NEW.unit := coalesce(NEW.unit, ''none''); RETURN NEW; END'",
    "CREATE TRIGGER stamped BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION stamp()",
    "CREATE ROLE reader",
    "GRANT SELECT ON metrics TO reader WITH GRANT OPTION",
    "GRANT UPDATE (value) ON metrics TO reader",
    "ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO reader",
    "ALTER TABLE metrics ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON metrics FOR SELECT TO reader USING (organization_id > 0)",
    'CREATE INDEX "Of a DBA" ON metrics (value) WHERE value > 3',
    "CREATE UNIQUE INDEX once ON metrics (metric_name, id, timestamp)",
    "ALTER TABLE metrics ADD CONSTRAINT real CHECK (value >= 0)",
    "ALTER TABLE metrics ALTER COLUMN value SET STATISTICS 200",
    "ALTER TABLE metrics SET (autovacuum_vacuum_scale_factor = 0.05)",
    "CREATE STATISTICS together ON metric_name, source FROM metrics",
    "COMMENT ON TABLE metrics IS 'what is ''measured'''",
    "COMMENT ON COLUMN metrics.value IS 'a float'",
    "COMMENT ON INDEX ix_metrics_timestamp IS 'by time'",
    "CREATE VIEW newest WITH (security_barrier = true) AS"
    " SELECT id, max(timestamp) AS at FROM metrics GROUP BY id",
    "CREATE VIEW newer AS SELECT at FROM newest",
    "GRANT SELECT ON newest TO reader",
)
_REMOVED: tuple[LiteralString, ...] = (
    "ALTER DEFAULT PRIVILEGES REVOKE DELETE ON TABLES FROM reader",
    "DROP OWNED BY reader",
    "DROP ROLE reader",
    "DROP FUNCTION stamp() CASCADE",
)


@pytest.fixture
def hung(timescale: Session) -> Any:
    """Both series filled, and all that a DBA may hang on metrics."""
    rows.fill(timescale, 200)
    for statement in _HANGING:
        timescale.execute(statement)
    yield timescale
    for statement in _REMOVED:
        timescale.execute(statement)


@pytest.mark.parametrize("way", [ATTACH, {}], ids=["attached", "moved into chunks"])
def test_all_that_hangs_on_a_table_is_there_after_the_way_and_after_the_way_back(
    hung: Session, context_for: ContextFor, way: dict[str, Any]
) -> None:
    before, digests = carried.pieces(hung, "metrics"), rows.digests(hung)
    assert len({piece.kind for piece in before}) == 15
    ctx = context_for(**way)

    convert(ctx)

    assert carried.lacking(before, carried.pieces(hung, "metrics")) == []
    assert rows.digests(hung) == digests
    assert hung.scalar("SELECT count(*) FROM newer") == 200
    key = rows.write_metric(hung, "2026-11-25")
    assert hung.scalar("SELECT unit FROM metrics WHERE id = %s", (key,)) == "none"
    hung.execute("CREATE INDEX made_since ON metrics (unit)")

    SetUpTimeSeries().undo(ctx)

    now = carried.pieces(hung, "metrics")
    assert [piece for piece in now if piece.name != "made_since"] == list(before)
    assert hung.scalar("SELECT count(*) FROM newer") == 201
    hung.execute("DELETE FROM metrics WHERE id = %s", (key,))
    assert rows.digests(hung) == digests


@pytest.mark.parametrize("way", [ATTACH, {}], ids=["attached", "moved into chunks"])
def test_a_foreign_key_of_others_that_names_the_time_follows_validated(
    timescale: Session, context_for: ContextFor, way: dict[str, Any]
) -> None:
    rows.fill(timescale, 50)
    timescale.execute("CREATE UNIQUE INDEX keyed ON metrics (id, timestamp)")
    timescale.execute(
        "CREATE TABLE notes (metric int, at timestamptz, CONSTRAINT of_metric"
        " FOREIGN KEY (metric, at) REFERENCES metrics (id, timestamp))"
    )
    timescale.execute("INSERT INTO notes SELECT id, timestamp FROM metrics WHERE id < 30")
    ctx = context_for(**way)

    convert(ctx)

    assert adoption.inbound(ctx.ddl, "metrics") == [("public", "notes", "of_metric", True)]
    SetUpTimeSeries().undo(ctx)
    assert adoption.inbound(ctx.ddl, "metrics") == [("public", "notes", "of_metric", True)]


def test_what_cannot_be_carried_over_undoes_the_whole(
    timescale: Session, context_for: ContextFor
) -> None:
    rows.fill(timescale, 50)
    timescale.execute("UPDATE metrics SET timestamp = 'infinity' WHERE id = 9")

    with pytest.raises(StepFailedError, match="rows at infinity"):
        SetUpTimeSeries().apply(context_for(**ATTACH))

    assert hypertables.key_columns(timescale, "metrics") == ("id",)
    assert timescale.scalar("SELECT count(*) FROM metrics") == 50
