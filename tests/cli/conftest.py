"""Real processes, as an ordinary role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.cli.causes import Scene
from tests.conftest import DatabaseAt

from opssight_migrate.postgres.cluster import Cluster


@pytest.fixture
def scene(tmp_path: Path, server: Cluster, database_at: DatabaseAt) -> Iterator[Scene]:
    """A place without a configuration above it."""
    (tmp_path / ".git").mkdir()
    with ExitStack() as stack:
        yield Scene(place=tmp_path, server=server, database_at=database_at, stack=stack)
