"""Show 2 at a small size: verify holds no lock above ACCESS SHARE and stays under 150 MB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.verify_footprint import verified
from tests.least import WORKER, Place
from tests.migrated import PlaceBy

ON_EVERY_SERVER = False


def test_verify_takes_no_lock_that_anybody_feels_and_little_memory(
    opened_place: Callable[[Place], str], migrated_by: PlaceBy, tmp_path: Path
) -> None:
    found = verified(opened_place(migrated_by(WORKER)), tmp_path)

    assert found.faults == [], found.report[-2_000:]
    assert found.samples > 10
