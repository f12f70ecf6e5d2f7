"""psql as the reader of a script: what it did not read to the end is no restore."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from opssight_migrate.backups import psql
from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.siblings import ProgramConnection


@pytest.mark.parametrize("lines", [1, 10_000], ids=["in the buffer", "more than a pipe holds"])
def test_a_psql_that_ends_well_without_reading_all_is_an_error(tmp_path: Path, lines: int) -> None:
    program = tmp_path / "psql"
    program.write_text("#!/bin/sh\nexec 0<&-\nsleep 0.2\n")
    program.chmod(0o755)
    clients = Clients(directory=tmp_path, version="13.0")
    connection = ProgramConnection(conninfo="", environment=dict(os.environ))

    with pytest.raises(BackupError, match="cannot be restored: it said nothing"):
        psql.run(clients, connection, _late([b"SELECT 1;\n" * 10] * lines))


def _late(lines: list[bytes]) -> Iterator[bytes]:
    time.sleep(0.1)  # until nobody reads any more
    yield from lines
