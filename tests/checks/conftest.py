"""How the tests of checks ask one: alone, in its READ ONLY transaction, on a migrated database."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import psycopg
import pytest
from tests.least import Place, as_superuser, derived, role_of
from tests.migrated import PlaceBy

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.engine import checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

DATA = Path(__file__).parents[1] / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Plant every fault on the newest server, and every sixth on the others: they cost a second."""
    servers = sorted({one for item in items if (one := _server_of(item))}, key=lambda n: int(n[2:]))
    left_out = [
        item
        for number, item in enumerate(items)
        if "mutation" in getattr(item, "fixturenames", ())
        and _server_of(item) in servers[:-1]
        and number % 6
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _server_of(item: pytest.Item) -> str | None:
    called = item.name.partition("[")[2].partition("-")[0].rstrip("]")
    return called if called.startswith("pg") else None


@pytest.fixture
def migrated(
    request: pytest.FixtureRequest,
    opened_place: Callable[[Place], str],
    migrated_by: PlaceBy,
    opened: Callable[[str], Session],
) -> Session:
    """A session on a fresh copy of the migrated database."""
    return opened(opened_place(migrated_by(role_of(request))))


@pytest.fixture(scope="session")
def peopled_by(server: Cluster, migrated_by: PlaceBy) -> PlaceBy:
    """Name a template of three organizations, each with people and things of its own."""

    @cache
    def place(role: str) -> Place:
        found, conninfo = derived(server, migrated_by(role), f"peopled_by_{role}")
        with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
            connection.execute((DATA / "organizations.sql").read_bytes())
            # In a copy the server counts from nought; the snapshot must have done so too.
            connection.execute("UPDATE opssight_migrate.snapshots SET writes = 0, deletes = 0")
        return found

    return place


@pytest.fixture
def peopled(
    request: pytest.FixtureRequest,
    opened_place: Callable[[Place], str],
    peopled_by: PlaceBy,
    opened: Callable[[str], Session],
) -> Session:
    """A session on a fresh copy of the database of three organizations."""
    return opened(opened_place(peopled_by(role_of(request))))


def outcome(check: Check, session: Session) -> Outcome:
    """Run one check as ``verify`` does."""
    (found,) = checker.run_checks([check], CheckContext(session=session))
    return found


def failures(check: Check, session: Session) -> list[Finding]:
    """Return what one check finds wrong; it must not have been skipped."""
    found = outcome(check, session)
    assert found.skipped is None
    return [finding for finding in found.findings if finding.severity is not Severity.NOTE]
