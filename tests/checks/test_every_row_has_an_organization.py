"""every-row-has-an-organization counts rows without one, and rows whose one does not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.checks.conftest import failures, outcome
from tests.conftest import DatabaseAt

from opssight_migrate.checks.every_row_has_an_organization import EveryRowHasAnOrganization
from opssight_migrate.opssight.revisions import START
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


def test_a_migrated_database_passes(migrated: Session) -> None:
    assert failures(EveryRowHasAnOrganization(), migrated) == []


@pytest.mark.parametrize("table", TENANT_TABLES)
def test_a_row_without_an_organization_is_named_by_its_key(migrated: Session, table: str) -> None:
    name = sql.Identifier(table)
    key = migrated.scalar(sql.SQL("SELECT max(id) FROM {}").format(name))
    migrated.execute(sql.SQL("ALTER TABLE {} ALTER organization_id DROP NOT NULL").format(name))
    migrated.execute(
        sql.SQL("UPDATE {} SET organization_id = NULL WHERE id = %s").format(name), (key,)
    )

    (found,) = failures(EveryRowHasAnOrganization(), migrated)

    assert (found.where, found.rows, found.keys) == (table, 1, (str(key),))


def test_a_reference_to_an_organization_that_is_gone_is_found_without_the_foreign_key(
    migrated: Session,
) -> None:
    migrated.execute("ALTER TABLE teams DROP CONSTRAINT teams_organization_id_fkey")
    migrated.execute("UPDATE teams SET organization_id = 999")

    (found,) = failures(EveryRowHasAnOrganization(), migrated)

    assert (found.where, found.rows) == ("teams", migrated.scalar("SELECT count(*) FROM teams"))
    assert len(found.keys) == 5


def test_it_is_skipped_before_there_are_organizations(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    assert outcome(EveryRowHasAnOrganization(), opened(database_at(START, False))).skipped
