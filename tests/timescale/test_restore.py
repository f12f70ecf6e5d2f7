"""A restore with TimescaleDB: its workers and triggers stand back, and come back afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

from tests.conftest import SettingsFor
from tests.timescale import rows, wasm
from tests.timescale.conftest import connected, context

from opssight_migrate.postgres import clients, timescale_restore
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

_CHUNKS = """
SELECT hypertable_name::text, chunk_name::text, range_start, range_end
  FROM timescaledb_information.chunks ORDER BY 1, 2
"""
_POLICIES = """
SELECT proc_name::text, hypertable_name::text, config::text FROM timescaledb_information.jobs
 WHERE hypertable_name IS NOT NULL ORDER BY 1, 2
"""
_IS_RESTORING = "SELECT current_setting('timescaledb.restoring')"


def test_timescaledb_stands_back_for_the_length_of_a_restore(timescale: Session) -> None:
    version = timescale_restore.version_in(timescale)
    assert version is not None
    assert timescale.scalar(_IS_RESTORING) == "off"

    with timescale_restore.restoring(timescale, version):
        assert timescale.scalar(_IS_RESTORING) == "on"

    assert timescale.scalar(_IS_RESTORING) == "off"


def test_a_dump_with_hypertables_comes_out_as_it_went_in(
    opssight_data: Path, settings_for: SettingsFor
) -> None:
    with wasm.serving(opssight_data) as served:
        with connected(served) as session:
            session.execute("CREATE SCHEMA timescale")
            session.execute("CREATE EXTENSION timescaledb SCHEMA timescale")
            rows.fill(session, 200)
            SetUpTimeSeries().apply(context(session, settings_for("host=unused")))
            version = timescale_restore.version_in(session)
            before, chunks = rows.digests(session), session.rows(_CHUNKS)
            policies = session.rows(_POLICIES)
        script = dumped(served.conninfo)
    assert version is not None
    assert chunks
    assert policies
    with wasm.serving() as served, connected(served) as session:
        session.execute("CREATE SCHEMA timescale")
        session.execute("CREATE EXTENSION timescaledb SCHEMA timescale")

        # Without these calls its own triggers and catalogue are in the way of the dump's.
        with timescale_restore.restoring(session, version):
            session.execute(SQL(cast("Any", script)))

        session.prepare()
        assert rows.digests(session) == before
        assert session.rows(_CHUNKS) == chunks
        assert session.rows(_POLICIES) == policies
        assert session.scalar(_IS_RESTORING) == "off"


def dumped(conninfo: str) -> str:
    """Dump a server as SQL that goes through a session: it bears no COPY and no other client."""
    program = clients.for_dump(17).program("pg_dump")
    command = [program, "--inserts", "--rows-per-insert=100", f"--dbname={conninfo}"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kept = [line for line in text.splitlines() if not line.startswith("\\")]
    return "\n".join(kept).replace("CREATE SCHEMA timescale;", "")
