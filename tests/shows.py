"""What the product claims, shown at full size: ``python tests/shows.py nobody-waits``.

Each claim is a list of commands that measure or test it and end with something else than 0 when it
does not hold. They want the machine to themselves. The gate runs the same assertions at a small
size.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PYTEST = ("-m", "pytest", "-q", "-n", "0")
# A core each: some of them measure.
_TOGETHER = ("-m", "pytest", "-q", "-n", "2")
_WHOLE_SAMPLE = "OPSSIGHT_TEST_SCALE=1"

# Arguments of this Python, one line a show; first, as in a shell, what is set for it.
SHOWS: dict[str, tuple[tuple[str, ...], ...]] = {
    "nobody-waits": (
        ("tests/load/bench.py", "--rows", "1000000"),
        (*_PYTEST, "tests/load"),
        (*_PYTEST, "tests/faults/test_lock_budget.py", "tests/faults/test_replica.py"),
        ("tests/benchmarks/rates.py",),
    ),
    "way-back": (
        ("tests/load/round_trip.py",),
        (*_TOGETHER, "tests/backups", "tests/cli/test_rollback.py", "tests/unit/test_floor.py"),
        (*_TOGETHER, "tests/commands", "-k", "rollback or restore or cleanup or backup or swap"),
        (*_PYTEST, "tests/faults", "-k", "data_rollback or in_place or full_disk"),
        (*_TOGETHER, "tests/postgres/test_swap.py", "tests/postgres/test_attributes.py"),
        (*_PYTEST, "tests/timescale/test_restore.py"),
        ("tests/benchmarks/backup_rate.py",),
    ),
    "proof": (
        (_WHOLE_SAMPLE, *_TOGETHER, "tests/checks/test_mutations.py"),
        (*_TOGETHER, "tests/checks", "tests/timescale/test_mutations.py"),
        ("tests/benchmarks/digest_rate.py",),
        ("tests/benchmarks/verify_footprint.py",),
        ("tests/benchmarks/report_pictures.py", "/tmp/opssight-pictures"),
    ),
    "time-series": (
        # With OPSSIGHT_TEST_TIMESCALE_URL they measure too, and print the figures.
        (*_PYTEST, "-s", "tests/timescale"),
        (*_TOGETHER, "tests/steps/test_set_up_time_series.py", "tests/postgres/test_timescale.py"),
    ),
    "contract": (
        (*_TOGETHER, "tests/cli", "tests/static", "tests/commands/test_least_privilege.py"),
        (*_PYTEST, "tests/benchmarks/test_help_time.py"),
        ("tests/screens.py", "--columns", "80"),
        ("tests/screens.py", "--columns", "160"),
    ),
}


def main() -> int:
    """Run the shows that are named, all of each, and say which did not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("claim", nargs="*", help=f"one of {', '.join(SHOWS)}; all by default")
    claims = asked.parse_args().claim or list(SHOWS)
    if unknown := [claim for claim in claims if claim not in SHOWS]:
        asked.error(f"no such claim: {', '.join(unknown)}; there are {', '.join(SHOWS)}")
    failed = []
    for show in (show for claim in claims for show in SHOWS[claim]):
        settings = list(takewhile(lambda word: "=" in word, show))
        arguments = show[len(settings) :]
        words = " ".join((*settings, "python", *arguments))
        print(f"\n== {words}", flush=True)  # noqa: T201
        began = time.monotonic()
        environment = os.environ | dict(one.split("=", 1) for one in settings)
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        print(f"== {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)  # noqa: T201
        if done.returncode:
            failed.append(words)
    print(*(f"does not hold: {words}" for words in failed), sep="\n")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
