"""A restore with TimescaleDB: its workers and triggers stand back, and come back afterwards."""

from __future__ import annotations

from opssight_migrate.postgres import timescale_restore
from opssight_migrate.postgres.session import Session

_IS_RESTORING = "SELECT current_setting('timescaledb.restoring')"


def test_timescaledb_stands_back_for_the_length_of_a_restore(timescale: Session) -> None:
    version = timescale_restore.version_in(timescale)
    assert version is not None
    assert timescale.scalar(_IS_RESTORING) == "off"

    with timescale_restore.restoring(timescale, version):
        assert timescale.scalar(_IS_RESTORING) == "on"

    assert timescale.scalar(_IS_RESTORING) == "off"
