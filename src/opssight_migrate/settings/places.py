"""Where the files of this user lie when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

DATA_DIR_VARIABLE = "OPSSIGHT_DATA_DIR"

_PRODUCT = "opssight-migrate"


def default_data_dir() -> Path:
    """Return where the product keeps its data: OPSSIGHT_DATA_DIR, else the user's own place."""
    if chosen := os.environ.get(DATA_DIR_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        # The embedded server does not run as root, and root's home is closed to everyone else.
        return Path("/var/lib") / _PRODUCT
    return Path(platformdirs.user_data_dir(_PRODUCT))


def default_log_dir() -> Path:
    """Return where logs go when nobody says otherwise: the user's state directory."""
    return Path(platformdirs.user_state_dir(_PRODUCT)) / "log"


def shelf_dir(chosen: str | None) -> Path:
    """Return where backups lie; ``chosen`` is backup_dir, or None."""
    return Path(chosen).expanduser().absolute() if chosen else default_data_dir() / "backups"
