"""What the tests under load share: a server of their own, and a filled database on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.least import Place
from tests.load import show

from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.embedded import wheel_bin_dir

FILLED = "template_load"
# About 72,000 rows, 6,000 of them users.
FACTOR = 0.3


@pytest.fixture(scope="session")
def busy_server() -> Iterator[Cluster]:
    """A server with settings of its own; bench.py takes another version's by --bin-dir."""
    home = Path(tempfile.mkdtemp(prefix="opssight-load-", dir="/tmp"))
    try:
        with Cluster(home, wheel_bin_dir(), durable=False, settings=show.SETTINGS) as running:
            yield running
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def filled(busy_server: Cluster) -> Place:
    """Name a template at the start with about 72,000 rows."""
    return show.filled(busy_server, FILLED, FACTOR)


@pytest.fixture
def database(busy_server: Cluster, filled: Place) -> Iterator[str]:
    """A database of about 72,000 rows at the start; its conninfo."""
    with show.copied(busy_server, filled) as conninfo:
        yield conninfo
