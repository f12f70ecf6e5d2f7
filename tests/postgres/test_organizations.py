"""The default organization: found by slug, else by name, else made with room for everybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.conftest import DatabaseAt

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.opssight.revisions import MULTI_TENANCY
from opssight_migrate.postgres import organizations
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def tenants(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Session:
    """A filled OpsSight at 85f9e3f15142, which has the organization "default"."""
    return opened(database_at(MULTI_TENANCY))


def test_it_is_made_once_and_found_again(tenants: Session) -> None:
    first = organizations.ensure_default_organization(tenants, "Acme", "acme")

    assert organizations.ensure_default_organization(tenants, "Acme", "acme") == first
    assert organizations.default_organization(tenants, "Other", "acme") == first
    assert organizations.default_organization(tenants, "Acme", "other") == first
    assert organizations.default_organization(tenants, "Other", "other") is None


def test_its_limits_are_twice_what_the_installation_has_and_it_has_what_python_would_give(
    tenants: Session,
) -> None:
    organizations.ensure_default_organization(tenants, "Acme", "acme")

    made = """
    SELECT max_users = 2 * (SELECT count(*) FROM users),
           max_projects = 2 * (SELECT count(*) FROM projects),
           max_clusters = greatest(3, 2 * (SELECT count(*) FROM clusters)),
           timezone, currency, date_format, is_active, is_verified, subscription_tier,
           settings ->> 'audit_enabled'
      FROM organizations WHERE slug = 'acme'
    """
    assert tenants.rows(made) == [
        (True, True, True, "UTC", "USD", "YYYY-MM-DD", True, False, "free", "true")
    ]


def test_quotes_in_a_name_are_data(tenants: Session) -> None:
    name = 'O\'Reilly "and" 100% Söhne; --'

    organizations.ensure_default_organization(tenants, name, "o-reilly")

    found = tenants.scalar("SELECT name FROM organizations WHERE slug = 'o-reilly'")
    assert found == name


def test_a_sequence_behind_its_ids_is_named_with_the_sql_that_mends_it(tenants: Session) -> None:
    tenants.execute("SELECT setval('organizations_id_seq', 1, false)")

    with pytest.raises(StepFailedError, match="organizations_id_seq is behind") as caught:
        organizations.ensure_default_organization(tenants, "Acme", "acme")

    assert caught.value.hint is not None
    tenants.execute(sql.SQL(caught.value.hint.partition(";")[0]))
    assert organizations.ensure_default_organization(tenants, "Acme", "acme") == 2
