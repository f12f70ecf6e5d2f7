"""The server's own disk fills up while a backup is restored beside the live database.

Run by ``small_disk.py``, with the directory of the small file system and a bigger one. Data and WAL
lie on the small one, so that the server may stop altogether, as it would.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psycopg  # noqa: E402
from psycopg.conninfo import make_conninfo  # noqa: E402
from tests.faults.test_data_rollback import Place, configured  # noqa: E402

from opssight_migrate.opssight.revisions import START  # noqa: E402
from opssight_migrate.postgres import chain, connect  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402

_LEFT_BYTES = 4_000_000
_DATABASES = "SELECT datname::text FROM pg_database WHERE NOT datistemplate ORDER BY 1"


def _cluster(disk: Path) -> Cluster:
    settings = {"shared_buffers": "16MB"}
    return Cluster(disk / "server", wheel_bin_dir(), durable=False, settings=settings)


def _filled(cluster: Cluster, home: Path) -> Place:
    with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE worker LOGIN CREATEDB")
        connection.execute("CREATE DATABASE live OWNER worker")
    conninfo = make_conninfo(cluster.conninfo("live"), user="worker")
    live = connect.opened(conninfo, application_name="test")
    chain.upgrade(chain.Drive(session=live), START)
    live.execute("""
INSERT INTO users (github_id, github_username, email, is_active, is_superuser)
SELECT n::text, n::text, n || '@test', true, false FROM generate_series(1, 2000) AS n
""")
    place = configured(home, conninfo, live)
    live.execute("DELETE FROM users WHERE id > 1000")
    live.close()
    return place


def main(disk: Path, home: Path) -> None:
    """Fill the disk, go back, and see what is left; then make room, and go back again."""
    with _cluster(disk) as cluster:
        place = _filled(cluster, home)
        before, _, shelf, temporary = place.looks()
        filler = disk / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - _LEFT_BYTES)

        failed = place.back(place.backup)

        # By whom it is met first: by CREATE DATABASE, or by what is restored.
        assert failed.returncode in (7, 10), failed.stderr
        assert "No space left on device" in failed.stderr
        assert "state: nothing was changed" in failed.stderr
        assert "help:  make room on the server's disk" in failed.stderr
        filler.unlink()
    with _cluster(disk):  # it may have stopped; what was committed comes back by its WAL
        assert place.looks()[0] == before
        assert place.looks()[2:] == (shelf, temporary)

        done = place.back(place.backup)

        assert done.returncode == 0, done.stderr
        with psycopg.connect(place.conninfo) as connection:
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (2000,)
            databases = [name for (name,) in connection.execute(_DATABASES)]
        # The scratch database of the first attempt is gone; the old one is kept.
        assert [name.split("_before_")[0] for name in databases] == ["live", "live", "postgres"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
