"""A database that ``migrate`` took from the start to the target: made once, and then copied."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import psycopg
import pytest
from tests.least import LeastAt, Place, as_superuser, derived, role_of

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.settings import Settings

# A copy is another database, in which the server counts writes from nought.
_ITSELF = """
UPDATE opssight_migrate.installation
   SET database_oid = (SELECT oid::int8 FROM pg_database WHERE datname = current_database())
"""
_COUNTED_ANEW = "UPDATE opssight_migrate.snapshots SET writes = 0, deletes = 0"

PlaceBy = Callable[[str], Place]


@pytest.fixture(scope="session")
def migrated_by(server: Cluster, least_at: LeastAt) -> PlaceBy:
    """Name a template that ``migrate`` of a role took from the start to the target, with rows."""

    def say_yes(plan: Plan, is_copy: bool) -> None:
        del plan, is_copy

    @cache
    def place(role: str) -> Place:
        found, conninfo = derived(server, least_at(START, True, role), f"migrated_by_{role}")
        settings = Settings.model_validate(
            {
                "project": {"default_environment": "test"},
                "environments": {"test": {"url": conninfo}},
            }
        )
        profile = settings.profile(None)
        report = migrate(settings, profile, MigrateRequest(), confirm=say_yes, emit=unheard)
        assert report.exit_code == 0, report.diagnostics
        return found

    return place


@pytest.fixture
def migrated_database(
    request: pytest.FixtureRequest, opened_place: Callable[[Place], str], migrated_by: PlaceBy
) -> Callable[[], str]:
    """Make a migrated database that takes itself for no copy, and return its role's way in."""

    def make() -> str:
        conninfo = opened_place(migrated_by(role_of(request)))
        with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
            connection.execute(_ITSELF)
            connection.execute(_COUNTED_ANEW)
        return conninfo

    return make
