"""A backup beside pg_dump alone: its rate, and memory that does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.backup_rate import measured
from tests.conftest import DatabaseAt

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session

_MORE = """
INSERT INTO users (id, github_id, github_username, email, full_name, is_active, is_superuser,
       bio, created_at, updated_at)
SELECT 100000 + n, 'g' || n, 'g' || n, 'g' || n || '@example.com', md5(n::text), true, false,
       md5(n::text) || md5((n + 1)::text), timestamptz '2026-01-01', timestamptz '2026-01-01'
  FROM generate_series(1, 300000) AS n
"""


def test_sealing_and_digesting_cost_little_beside_the_dump(
    database_at: DatabaseAt, opened: Callable[[str], Session], tmp_path: Path
) -> None:
    session = opened(database_at(START))
    session.execute(_MORE)
    session.execute("ANALYZE")

    rates = measured(session, tmp_path)

    print(rates.text())  # noqa: T201 (figures for whoever asks with -s)
    assert rates.dumped_bytes > 10_000_000
    assert rates.grown_bytes < 16 * 1024 * 1024
    assert rates.ratio > 0.5, rates
