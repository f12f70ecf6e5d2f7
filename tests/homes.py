"""Where the servers of the tests live."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 << 30


def new_home(purpose: str) -> Path:
    """Make a directory for a server; whoever asked for it removes it.

    In memory where there is room: most tests make a database, and its hundreds of files cost
    thirty times as much on a disk. Not below pytest's own temporary directory, which as root is
    closed to the user whom the server runs as.
    """
    place = Path("/tmp")
    if os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
        place = _MEMORY
    return Path(tempfile.mkdtemp(prefix=f"opssight-{purpose}-", dir=place))
