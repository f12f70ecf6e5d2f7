"""The server's disk fills up in the middle of a data rollback, on a file system of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import small_disk

HERE = Path(__file__).parent


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory to mount on, which the server's user can reach."""
    with tempfile.TemporaryDirectory(prefix="opssight-disk-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@pytest.mark.needs_mount
def test_the_servers_disk_fills_up_and_the_live_database_is_complete(
    disk: Path, tmp_path: Path
) -> None:
    story = [sys.executable, str(HERE / "full_disk.py"), str(disk), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(Path(small_disk.__file__)), str(disk), "150000000", *story],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
