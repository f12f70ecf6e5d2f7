"""Show 5 at a small size: a backup beside pg_dump alone, with the bounds of the full size.

Both take turns, and the best of each counts; more are taken only while a bound is left.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.backup_rate import MORE_USERS, measured
from tests.conftest import DatabaseAt

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
ROWS = 400_000
MOST_TURNS = 12


def test_a_backup_is_made_nearly_as_fast_as_pg_dump_alone_and_is_smaller(
    database_at: DatabaseAt, opened: Callable[[str], Session], tmp_path: Path
) -> None:
    session = opened(database_at(START))
    session.execute(MORE_USERS, (ROWS,))
    session.execute("VACUUM ANALYZE users")

    rates = measured(session, tmp_path, rounds=MOST_TURNS)

    print(rates.text())  # noqa: T201 (figures for whoever asks with -s)
    assert rates.dumped_bytes > 10_000_000
    assert rates.is_good, rates.text()
