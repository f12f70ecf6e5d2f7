"""Show 1 at full size, by hand: ``python tests/load/bench.py --rows 1000000``.

Prints the latencies of the old release's load without a migration, during ours, during the
control, and what went on in each wait above 50 ms. Ends with 1 when a statement failed or somebody
waited more than 100 ms longer than without a migration.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.load import show  # noqa: E402

from opssight_migrate.opssight import sample  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402

_TEMPLATE = "template_load"


def main() -> int:
    """Fill a server of our own, carry out the show, and print it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=1_000_000, help="rows of the database")
    asked.add_argument("--quiet", type=float, default=20.0, help="seconds without a migration")
    asked.add_argument("--bin-dir", type=Path, default=None, help="another PostgreSQL's programs")
    asked.add_argument("--durable", action="store_true", help="with fsync")
    given = asked.parse_args()
    home = Path(tempfile.mkdtemp(prefix="opssight-load-", dir="/tmp"))
    try:
        with Cluster(
            home,
            given.bin_dir or wheel_bin_dir(),
            durable=given.durable,
            settings=show.SETTINGS,
        ) as cluster:
            started = time.monotonic()
            factor = given.rows / sum(sample.USUAL.by_table().values())
            template = show.filled(cluster, _TEMPLATE, factor)
            filled_s = time.monotonic() - started
            print(f"PostgreSQL {cluster.version}, filled in {filled_s:.0f} s")  # noqa: T201
            with show.shown(cluster, template, given.quiet) as (found, _):
                print(found.text())  # noqa: T201
    finally:
        shutil.rmtree(home)
    report = found.ours.report
    for diagnostic in report.diagnostics:
        print(f"{diagnostic.severity}: {diagnostic.message}")  # noqa: T201
    well = report.exit_code == 0 and not found.ours.traffic.failed
    return 0 if well and found.excess_ms <= show.ALLOWED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
