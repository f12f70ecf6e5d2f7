"""Whether the shelf has room for a backup, before it begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from humanize import naturalsize

from opssight_migrate.backups.shelf import Shelf
from opssight_migrate.model.errors import NoRoomError
from opssight_migrate.postgres import sizes
from opssight_migrate.postgres.session import Session

# What zstd makes of OpsSight's tables is a quarter of them; texts vary.
_USUAL_RATIO = 0.5
_MARGIN = 1.1


def needed_bytes(session: Session, shelf: Shelf, environment: str) -> int:
    """Return an estimate of the next backup: as small for its tables as the newest one was."""
    stored = sizes.stored_bytes(session)
    newest = shelf.newest(environment)
    if newest is None or not newest.manifest.table_bytes:
        return int(stored * _USUAL_RATIO)
    return int(stored * newest.manifest.bytes / newest.manifest.table_bytes * _MARGIN)


def free_bytes(directory: Path) -> int:
    """Return what is free where ``directory`` lies or is going to be made."""
    there = next(place for place in (directory, *directory.parents) if place.exists())
    return shutil.disk_usage(there).free


def refuse_full_shelf(session: Session, shelf: Shelf, environment: str) -> None:
    """Raise NoRoomError if a backup of the session's database would not fit on the shelf."""
    needed, free = needed_bytes(session, shelf, environment), free_bytes(shelf.directory)
    if needed > free:
        raise NoRoomError(
            f"a backup needs about {naturalsize(needed)}, and {naturalsize(free)} are free in"
            f" {shelf.directory}",
            where=str(shelf.directory),
            hint="make room there (opssight-migrate cleanup --backups), or set backup_dir",
        )
