"""Show 2 at a small size: verify holds no lock above ACCESS SHARE and stays under 150 MB."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.verify_footprint import verified
from tests.conftest import NewDatabase

ON_EVERY_SERVER = False


def test_verify_takes_no_lock_that_anybody_feels_and_little_memory(
    new_database: NewDatabase, migrated_template: str, tmp_path: Path
) -> None:
    found = verified(new_database(migrated_template), tmp_path)

    assert found.faults == [], found.report[-2_000:]
    assert found.samples > 10
