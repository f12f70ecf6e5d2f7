"""How the tests of checks ask one: alone, in its READ ONLY transaction, on a migrated database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from tests.conftest import NewDatabase, TemplateAt, copy_database

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.engine import checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Finding, Plan, Severity
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

MIGRATED = "template_migrated_by_the_command"
PEOPLED = "template_of_three_organizations"
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


@pytest.fixture(scope="session")
def migrated_template(server: Cluster, template_at: TemplateAt) -> str:
    """A template database that ``migrate`` took from the start to the target, with its rows."""
    copy_database(server, template_at(START, True), MIGRATED)
    settings = Settings.model_validate(
        {
            "project": {"default_environment": "test"},
            "environments": {"test": {"url": server.conninfo(MIGRATED)}},
        }
    )

    def say_yes(plan: Plan, is_copy: bool) -> None:
        del plan, is_copy

    profile = settings.profile(None)
    report = migrate(settings, profile, MigrateRequest(), confirm=say_yes, emit=unheard)
    assert report.exit_code == 0, report.diagnostics
    return MIGRATED


@pytest.fixture
def migrated(
    new_database: NewDatabase, migrated_template: str, opened: Callable[[str], Session]
) -> Session:
    """A session on a fresh copy of the migrated database."""
    return opened(new_database(migrated_template))


@pytest.fixture(scope="session")
def peopled_template(server: Cluster, migrated_template: str) -> str:
    """A template database of three organizations, each with people and things of its own."""
    copy_database(server, migrated_template, PEOPLED)
    with psycopg.connect(server.conninfo(PEOPLED), autocommit=True) as connection:
        connection.execute((DATA / "organizations.sql").read_bytes())
        # In a copy the server counts from nought; the snapshot must have done so too.
        connection.execute("UPDATE opssight_migrate.snapshots SET writes = 0, deletes = 0")
    return PEOPLED


@pytest.fixture
def peopled(
    new_database: NewDatabase, peopled_template: str, opened: Callable[[str], Session]
) -> Session:
    """A session on a fresh copy of the database of three organizations."""
    return opened(new_database(peopled_template))


def outcome(check: Check, session: Session) -> Outcome:
    """Run one check as ``verify`` does."""
    (found,) = checker.run_checks([check], CheckContext(session=session))
    return found


def failures(check: Check, session: Session) -> list[Finding]:
    """Return what one check finds wrong; it must not have been skipped."""
    found = outcome(check, session)
    assert found.skipped is None
    return [finding for finding in found.findings if finding.severity is not Severity.NOTE]
