"""There and back and there again, at the size of the gate: no row is lost, and nothing grows."""

from __future__ import annotations

import pytest
from tests.least import Place
from tests.load import round_trip, show

from opssight_migrate.postgres.cluster import Cluster

pytestmark = pytest.mark.xdist_group("load")


@pytest.fixture(scope="session")
def small(busy_server: Cluster) -> Place:
    """Name a template at the start with about 5,000 rows."""
    return show.filled(busy_server, "template_small", 0.02)


def test_each_row_is_in_public_or_in_an_archive_all_the_way(
    busy_server: Cluster, small: Place
) -> None:
    trip = round_trip.made(busy_server, small, writes_s=0.5)

    assert trip.wrong == (), trip.text()
    assert {"metrics", "log_entries", "audit_logs", "user_roles", "organizations"} <= set(
        trip.archived
    )
    assert all(trip.written[table] > 0 for table in ("users", "teams", "projects", "pipelines"))


def test_a_rollback_costs_the_same_whatever_the_rows(
    busy_server: Cluster, small: Place, filled: Place
) -> None:
    costs = [round_trip.cost(busy_server, template) for template in (small, filled)]
    costs = round_trip.again_where_growing(busy_server, filled, costs)

    assert costs[1].rows > 10 * costs[0].rows
    assert round_trip.growing(costs) == [], [one.text() for one in costs]
