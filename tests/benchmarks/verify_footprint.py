"""What ``verify`` of a big database takes: its locks, and the memory of the client.

``python tests/benchmarks/verify_footprint.py`` makes a sample of 5 million rows, migrates it, and
runs ``verify`` as a process of its own; ends with 1 where it held a lock above ACCESS SHARE on a
table of that database (sampled from pg_locks 50 times a second), took 150 MB or more, or found
anything.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psycopg  # noqa: E402

from opssight_migrate.opssight import sample  # noqa: E402
from opssight_migrate.opssight.revisions import START  # noqa: E402
from opssight_migrate.postgres import chain, sample_database  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402
from opssight_migrate.postgres.session import Session  # noqa: E402

MOST_BYTES = 150_000_000
WEAKEST = "AccessShareLock"
# The scratch database of the rehearsal is another one.
_LOCKS = """
SELECT l.mode, coalesce(c.relname, l.relation::text)::text
  FROM pg_locks AS l
  JOIN pg_stat_activity AS a ON a.pid = l.pid
  LEFT JOIN pg_class AS c ON c.oid = l.relation
 WHERE l.locktype = 'relation' AND a.application_name LIKE 'opssight-migrate/%'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one ``verify`` left behind. ``locks`` are the (mode, relation) that were seen."""

    exit_code: int
    took_s: float
    samples: int
    locks: frozenset[tuple[str, str]]
    peak_bytes: int
    report: str

    @property
    def faults(self) -> list[str]:
        """Say what is not as it should be."""
        strong = sorted(f"{mode} on {name}" for mode, name in self.locks if mode != WEAKEST)
        told = [f"held {one}" for one in strong]
        if not self.locks:
            told.append("no lock was seen at all, so the sampling proves nothing")
        if self.peak_bytes >= MOST_BYTES:
            told.append(f"took {self.peak_bytes:,} bytes")
        if self.exit_code:
            told.append(f"verify ended with {self.exit_code}")
        return told


def verified(conninfo: str, home: Path) -> Footprint:
    """Run ``verify`` of a migrated database as a process, and look on."""
    config = configured(conninfo, home)
    output = home / "verify.json"
    with (
        psycopg.connect(conninfo, autocommit=True) as onlooker,
        output.open("w") as stdout,
        subprocess.Popen(command(config, home, "verify", "-o", "json"), stdout=stdout) as process,
    ):
        started, samples, peak = time.monotonic(), 0, 0
        seen: set[tuple[str, str]] = set()
        while process.poll() is None:
            seen.update(onlooker.execute(_LOCKS).fetchall())
            peak = max(peak, _most_so_far(process.pid))
            samples += 1
            time.sleep(_SAMPLE_S)
    return Footprint(
        exit_code=process.returncode,
        took_s=time.monotonic() - started,
        samples=samples,
        locks=frozenset(seen),
        peak_bytes=peak,
        report=output.read_text(),
    )


def configured(conninfo: str, home: Path) -> Path:
    """Write the configuration whose default environment is the database of ``conninfo``."""
    path = home / "opssight.toml"
    path.write_text(
        '[project]\ndefault_environment = "big"\n[old_release]\nrehearse = false\n'
        f'[environments.big]\nurl = "{conninfo}"\nbackup = "never"\n'
    )
    return path


def command(config: Path, home: Path, *words: str) -> list[str]:
    """Return the command line of the tool with that configuration."""
    given = ("--config", str(config), "--log-dir", str(home / "log"), "--progress", "none")
    return [sys.executable, "-m", "opssight_migrate", *words, *given]


def _most_so_far(pid: int) -> int:
    """Return the most memory that a process has had; 0 once it is gone.

    The peak of ``wait4`` counts what the process had before it became another program.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    peak = (int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return 1024 * max(peak, default=0)


@contextmanager
def migrated_sample(factor: float) -> Iterator[tuple[str, Path]]:
    """Start a server of our own, fill it and migrate it; give its conninfo and a folder."""
    home = Path(tempfile.mkdtemp(prefix="opssight-verify-", dir="/tmp"))
    home.chmod(0o755)
    try:
        with Cluster(home / "server", wheel_bin_dir(), durable=False) as server:
            conninfo = server.conninfo("postgres")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                session = Session(connection)
                session.prepare()
                session.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
                session.execute("SELECT pg_reload_conf()")
                chain.upgrade(chain.Drive(session=session), START)
                sample_database.load(session, sample.USUAL.scaled(factor))
            migrate = command(configured(conninfo, home), home, "migrate", "--yes", "-q")
            subprocess.run(migrate, check=True)
            yield conninfo, home
    finally:
        shutil.rmtree(home)


def main() -> int:
    """Measure, tell and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    asked = parser.parse_args()
    usual = sum(sample.USUAL.by_table().values())
    with migrated_sample(asked.rows / usual) as (conninfo, home):
        found = verified(conninfo, home)
    modes = sorted({mode for mode, _ in found.locks})
    tables = len({name for _, name in found.locks})
    print(f"verify took {found.took_s:.0f} s, {found.peak_bytes / 1e6:.0f} MB at the most")  # noqa: T201
    print(f"{found.samples:,} looks at pg_locks: {', '.join(modes)} on {tables} relations")  # noqa: T201
    report = json.loads(found.report)
    for check in report["checks"]:
        print(f"  {check['status']:8} {check['duration_ms']:8,} ms  {check['id']}")  # noqa: T201
    for query in report["performance"]["queries"]:
        print(f"  {query['verdict']:11} {query['median_us'] / 1000:9,.1f} ms  {query['id']}")  # noqa: T201
    for fault in found.faults:
        print(f"FAULT: {fault}")  # noqa: T201
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
