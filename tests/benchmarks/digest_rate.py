"""How fast a table is digested, against the two plain ways, side by side in one run.

``python tests/benchmarks/digest_rate.py`` digests a million users; ends with 1 when the digest is
not twice as fast as ``hashtextextended(t::text, 0)``, or below 0.8 of a bare
``hash_record_extended(t, 0)``, which cannot tell two swapped values from none. All are measured in
turns, with the same workers, and the best of each counts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psycopg  # noqa: E402

from opssight_migrate.opssight.revisions import START  # noqa: E402
from opssight_migrate.postgres import chain, digest, ranges  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402
from opssight_migrate.postgres.session import Session  # noqa: E402

OF_TEXT, OF_BARE = 2.0, 0.8
_USERS = """
INSERT INTO users (github_id, github_username, email, full_name, is_active, is_superuser)
SELECT 'g' || n, 'user' || n, 'user' || n || '@example.org', 'User ' || n, true, false
  FROM generate_series(1, %s) AS n
"""
_TEXT = "SELECT sum(hashtextextended(t::text, 0)) FROM users AS t"
_BARE = "SELECT sum(hash_record_extended(t, 0)) FROM users AS t"


def rates(session: Session, rows: int, turns: int) -> dict[str, float]:
    """Return rows a second of each way, best of ``turns``."""
    columns = digest.columns_by_table(session, ["users"])["users"]
    ways: dict[str, Callable[[], object]] = {
        "text": lambda: session.scalar(_TEXT),
        "bare": lambda: session.scalar(_BARE),
        "digest": lambda: digest.digest_table(session, "users", columns),
        "ranges": lambda: ranges.digest_and_ranges(session, "users", columns),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(turns):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            best[name] = max(best[name], rows / (time.perf_counter() - started))
    return best


def measured(rows: int, turns: int) -> dict[str, float]:
    """Start a server of our own, fill it and measure."""
    home = Path(tempfile.mkdtemp(prefix="opssight-digest-", dir="/tmp"))
    try:
        with (
            Cluster(home, wheel_bin_dir(), durable=False) as server,
            psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection,
        ):
            session = Session(connection)
            session.prepare()
            chain.upgrade(chain.Drive(session=session), START)
            session.execute(_USERS, (rows,))
            session.execute("VACUUM (FREEZE, ANALYZE) users")
            return rates(session, rows, turns)
    finally:
        shutil.rmtree(home)


def main() -> int:
    """Measure, tell and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    best = measured(asked.rows, asked.turns)
    for name, rate in best.items():
        print(f"{name:8} {rate:12,.0f} rows/s")  # noqa: T201
    of_text, of_bare = best["digest"] / best["text"], best["digest"] / best["bare"]
    print(f"digest: {of_text:.2f} of text, {of_bare:.2f} of bare")  # noqa: T201
    return 0 if of_text >= OF_TEXT and of_bare >= OF_BARE else 1


if __name__ == "__main__":
    sys.exit(main())
