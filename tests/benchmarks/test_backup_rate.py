"""A backup beside pg_dump alone: its rate, and memory that does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.backup_rate import MORE_USERS, measured
from tests.conftest import DatabaseAt

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session


def test_sealing_and_digesting_cost_little_beside_the_dump(
    database_at: DatabaseAt, opened: Callable[[str], Session], tmp_path: Path
) -> None:
    session = opened(database_at(START))
    session.execute(MORE_USERS, (300_000,))
    session.execute("ANALYZE")

    rates = measured(session, tmp_path)

    print(rates.text())  # noqa: T201 (figures for whoever asks with -s)
    assert rates.dumped_bytes > 10_000_000
    assert rates.grown_bytes < 16 * 1024 * 1024
    assert rates.ratio > 0.5, rates
