"""Without the Community licence: a server on which its functions refuse, so that none is called.

The WebAssembly server loads them in the process that made the extension only. One that starts from
its data has what the Apache licence gives, and says "timescale" all the same: that alone is set
right here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import pytest
from tests.conftest import SettingsFor
from tests.timescale import rows, wasm
from tests.timescale.conftest import OneConnection, Server, connected, tables_in
from tests.timescale.test_conversion import ATTACH, convert
from tests.timescale.test_policies import found, told

from opssight_migrate.engine import chunk_retirements
from opssight_migrate.model.errors import StatementError
from opssight_migrate.postgres import carried, hypertables, series_policies, timescale
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

_COMMUNITY: tuple[LiteralString, ...] = (
    "CALL timescale.add_columnstore_policy('metrics', after => interval '7 days')",
    "SELECT timescale.add_retention_policy('metrics', interval '1 year')",
    "CALL timescale.attach_chunk('metrics', 'metrics', '{}')",
    "CALL timescale.detach_chunk('metrics')",
    "CALL timescale.split_chunk('metrics')",
    "ALTER TABLE metrics SET (timescaledb.enable_columnstore)",
)


@pytest.fixture(scope="module")
def apache_server(opssight_data: Path) -> Iterator[Server]:
    """A server that starts from data in which the extension is."""
    data = opssight_data.with_suffix(".extension.tar")
    if not data.is_file():
        with wasm.serving(opssight_data) as served:
            with connected(served) as session:
                session.execute("CREATE SCHEMA timescale")
                session.execute("CREATE EXTENSION timescaledb SCHEMA timescale")
            served.save(data)
    with wasm.serving(data) as served, connected(served) as session:
        yield tables_in(session)


@pytest.fixture
def apache(apache_server: Server, monkeypatch: pytest.MonkeyPatch) -> Session:
    """An OpsSight without a row there."""
    session = apache_server.emptied()
    real = timescale.offered

    def offered(session: Session) -> Offer:
        return replace(real(session), licence="apache", attaches=False, splits=False)

    monkeypatch.setattr(timescale, "offered", offered)
    return session


def context(session: Session, settings_for: SettingsFor, **tables: Any) -> OneConnection:
    """Return a step's context there."""
    profile = settings_for("host=unused", **tables).profile(None)
    return OneConnection(session=session, profile=profile, drive=Drive(session=session))


def test_that_server_refuses_what_the_licence_does_not_give(
    apache: Session, settings_for: SettingsFor
) -> None:
    convert(context(apache, settings_for))

    for statement in _COMMUNITY:
        with pytest.raises(StatementError, match="not supported under the current"):
            apache.execute(statement)


def test_a_filled_table_is_moved_in_a_window_only_and_goes_back_whole(
    apache: Session, settings_for: SettingsFor
) -> None:
    rows.fill(apache, 200)
    before = rows.digests(apache), carried.pieces(apache, "metrics")
    refused = context(apache, settings_for, defaults=ATTACH["defaults"])
    with apache.reading():
        blockers = list(SetUpTimeSeries().preconditions(refused))
    assert [one.where for one in blockers] == list(rows.SERIES)
    assert "licence apache cannot adopt a table" in blockers[0].message
    ctx = replace(refused, window_s=60.0)

    convert(ctx)

    stand = series_policies.read(apache, "metrics")
    assert stand.chunk_interval == ctx.profile.time_series.chunk_interval
    assert (stand.compress_after, stand.retain) == (None, None)
    assert told(found(apache, probing=True)) == []
    with apache.reading():
        assert chunk_retirements.look(ctx, lambda: None) == chunk_retirements.Look()
    assert rows.digests(apache) == before[0]

    SetUpTimeSeries().undo(ctx)

    assert (rows.digests(apache), carried.pieces(apache, "metrics")) == before


def test_a_small_table_is_moved_into_chunks_and_a_change_of_its_interval_is_made(
    apache: Session, settings_for: SettingsFor
) -> None:
    rows.fill(apache, 200)
    before = rows.digests(apache)
    convert(context(apache, settings_for))

    convert(context(apache, settings_for, time_series={"chunk_interval": "1d"}))

    assert len(hypertables.chunks(apache, "metrics")) == 2
    assert str(series_policies.read(apache, "metrics").chunk_interval) == "1 day, 0:00:00"
    assert rows.digests(apache) == before
