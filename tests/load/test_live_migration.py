"""Show 1, at the size of the gate: nobody notices a migration but by its result.

The machine may have two cores that others use as well, so the worst of one run says little. The
bound is never loosened for that: the show is repeated, up to three times, until one keeps it, and
what is not a matter of time must hold in every one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from tests.least import Place
from tests.load import show
from tests.load.show import Shown
from tests.load.traffic import KINDS

from opssight_migrate.opssight.revisions import HEAD
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres.cluster import Cluster

pytestmark = pytest.mark.xdist_group("load")

ATTEMPTS = 3
QUIET_S = 6.0
FEWEST_A_SECOND = 20
WRITTEN_TABLES = {"users", "teams", "projects", "pipelines"}

DEFAULT = "SELECT id FROM organizations WHERE slug = 'default'"
WITHOUT_ROLE = """
SELECT count(*) FROM users AS u
 WHERE NOT EXISTS (SELECT FROM user_roles AS r
                    WHERE r.user_id = u.id AND r.organization_id = u.organization_id)
"""
OTHER_ROLE = """
SELECT count(*)
  FROM users AS u
  JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE r.role_id <> coalesce(u.role_id,
           (SELECT s.id FROM roles AS s
             WHERE s.name::text = CASE WHEN u.is_superuser THEN 'SUPER_ADMIN' ELSE 'VIEWER' END))
"""


@dataclass(frozen=True, slots=True)
class Attempts:
    """All that were needed, and the database of the last one, which is still there."""

    shows: tuple[Shown, ...]
    conninfo: str

    @property
    def last(self) -> Shown:
        """The one that kept the bound, if any did."""
        return self.shows[-1]

    def text(self) -> str:
        """Return the report of each."""
        return "\n\n".join(f"attempt {n}\n{one.text()}" for n, one in enumerate(self.shows, 1))


@pytest.fixture(scope="session")
def attempts(busy_server: Cluster, filled: Place) -> Iterator[Attempts]:
    """Show 1 until it keeps the bound, three times at most."""
    shows: list[Shown] = []
    with ExitStack() as stack:
        while True:
            one, conninfo = stack.enter_context(show.shown(busy_server, filled, QUIET_S))
            shows.append(one)
            if one.excess_ms <= show.ALLOWED_MS or len(shows) == ATTEMPTS:
                break
        yield Attempts(tuple(shows), conninfo)


def test_the_load_is_that_of_the_old_release(attempts: Attempts) -> None:
    for one in attempts.shows:
        during, seconds = one.ours.during, one.ours.ended - one.ours.started
        assert len(during.statements) >= 0.95 * 200 * seconds
        # The timetable is that of one second, in any order, again and again: whole seconds have all
        # of a kind, wherever they begin, and a part of one may lack it.
        for kind in KINDS:
            assert during.latencies(kind).statements >= FEWEST_A_SECOND * int(seconds), kind


def test_no_statement_of_the_old_release_fails(attempts: Attempts) -> None:
    for one in attempts.shows:
        assert one.ours.report.exit_code == 0, one.ours.report.diagnostics
        assert one.ours.report.status == "ok"
        for traffic in (one.before, one.ours.traffic, one.after):
            assert traffic.failed == ()


def test_nobody_waits_more_than_100_ms_longer_than_without_a_migration(attempts: Attempts) -> None:
    assert attempts.last.excess_ms <= show.ALLOWED_MS, attempts.text()


def test_the_plain_chain_in_one_transaction_stalls_everybody_and_breaks_the_old_release(
    attempts: Attempts,
) -> None:
    last = attempts.last
    assert last.control_worst_ms > last.our_worst_ms, attempts.text()
    # Whatever is due in the transaction waits for its end, so that the median says it too.
    quiet, ours = (one.latencies().p50_ms for one in (last.before, last.ours.during))
    assert last.control.latencies().p50_ms > 3 * max(quiet, ours), attempts.text()
    # It leaves no shims.
    assert {one.kind for one in last.control.failed} >= {"insert user", "upsert user"}


def test_what_was_written_meanwhile_is_there_and_in_the_default_organization(
    attempts: Attempts,
) -> None:
    written = attempts.last.ours.traffic.written
    assert written.keys() == WRITTEN_TABLES
    with psycopg.connect(attempts.conninfo, autocommit=True) as connection:
        (default,) = connection.execute(DEFAULT).fetchall()[0]
        for table, ids in written.items():
            found = sql.SQL("SELECT count(*) FROM {} WHERE id = ANY(%(ids)s)").format(
                sql.Identifier(table)
            )
            if table in TENANT_TABLES:
                found += sql.SQL(" AND organization_id = %(default)s")
            row = connection.execute(found, {"ids": list(ids), "default": default}).fetchone()
            assert row == (len(set(ids)),), table


def test_what_nobody_wrote_meanwhile_is_proven_to_be_identical(attempts: Attempts) -> None:
    for one in attempts.shows:
        proof = one.ours.report.proof
        assert proof is not None
        assert proof.tables == 22
        assert set(proof.differing) == WRITTEN_TABLES
        assert (proof.catalogue or "").startswith(f"catalogue equal to {HEAD}")


def test_a_second_run_gives_a_role_to_the_users_that_came_late(attempts: Attempts) -> None:
    with psycopg.connect(attempts.conninfo, autocommit=True) as connection:
        (late,) = connection.execute(WITHOUT_ROLE).fetchall()[0]
        assert late > 0

        second = show.migrate(attempts.conninfo)
        assert (second.exit_code, second.status) == (0, "ok"), second.diagnostics
        assert [step.id for step in second.steps] == ["assign-roles"]

        assert connection.execute(WITHOUT_ROLE).fetchall() == [(0,)]
        assert connection.execute(OTHER_ROLE).fetchall() == [(0,)]
    assert show.migrate(attempts.conninfo).status == "nothing_to_do"
