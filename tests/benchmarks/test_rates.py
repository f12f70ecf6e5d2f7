"""Show 3 at a small size: batches keep up with one statement, whatever the table's size.

The bounds are those of the full size. More turns are taken only while one of them is left.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("rates.py")
SIZES = ("15000", "60000")
MOST_TURNS = "8"


def test_rates_are_flat_near_one_statement_s_and_memory_stays_small() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--json", "--turns", MOST_TURNS, "--rows", *SIZES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert len(found["rates"]) == 4
    assert found["faults"] == [], found["rates"]
