"""Revisions as steps: names in the way refuse, a stamp is never taken back, a kill is survived."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.conftest import DatabaseAt, SettingsFor
from tests.steps.conftest import apply_step, blockers, estimated, row_versions

from opssight_migrate.model.plan import Obstacle, PromisedLock
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY, RBAC, START
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.schema_at import SchemaAt, shims_after

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]

_IN_THE_WAY = {
    "view": "CREATE VIEW {} AS SELECT 1 AS one",
    "materialized view": "CREATE MATERIALIZED VIEW {} AS SELECT 1 AS one",
    "sequence": "CREATE SEQUENCE {}",
    "type": "CREATE TYPE {} AS (one int)",
}


@pytest.mark.parametrize("kind", sorted(_IN_THE_WAY))
def test_something_else_under_the_name_of_a_new_table_is_a_blocker(
    at_start: Session, settings_for: SettingsFor, kind: str
) -> None:
    statement = sql.SQL(_IN_THE_WAY[kind])
    at_start.execute(statement.format(sql.Identifier("organizations")))

    found = blockers(SchemaAt(MULTI_TENANCY), at_start, settings_for("host=unused"))

    assert [(blocker.kind, blocker.where) for blocker in found] == [
        (Obstacle.SHAPE, "public.organizations")
    ]
    assert f"a {kind} named organizations is in the way of revision 85f9" in found[0].message
    assert found[0].hint is not None
    assert found[0].hint.startswith(f"rename it: ALTER {kind.upper()} public.organizations RENAME")


def test_a_half_made_table_of_the_revision_itself_is_not_in_the_way(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(MULTI_TENANCY))
    session.execute("UPDATE alembic_version SET version_num = %s", (START,))

    assert blockers(SchemaAt(MULTI_TENANCY), session, settings_for("host=unused")) == []


def test_an_unstamped_revision_is_finished_without_touching_a_row(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(MULTI_TENANCY))
    session.execute("UPDATE alembic_version SET version_num = %s", (START,))
    before = row_versions(session, without=("alembic_version",))

    apply_step(SchemaAt(MULTI_TENANCY), session, settings_for("host=unused"))

    assert catalog.current_revision(session) == MULTI_TENANCY
    assert row_versions(session, without=("alembic_version",)) == before


def test_a_database_beyond_the_revision_is_never_downgraded(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(AUDIT))
    before = row_versions(session)

    apply_step(SchemaAt(RBAC), session, settings_for("host=unused"))

    assert catalog.current_revision(session) == AUDIT
    assert row_versions(session) == before


def test_an_empty_database_waits_for_no_lock_and_a_filled_one_names_them(
    at_start: Session, populated: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")

    assert estimated(SchemaAt(MULTI_TENANCY), at_start, settings).locks == ()
    assert estimated(SchemaAt(MULTI_TENANCY), populated, settings).locks == tuple(
        PromisedLock(relation=table) for table in TENANT_TABLES
    )


def test_the_shims_to_come_are_those_of_the_revisions_in_between() -> None:
    assert len(shims_after(START, AUDIT, populated=True)) == 18
    assert len(shims_after(MULTI_TENANCY, AUDIT, populated=True)) == 4
    assert shims_after(RBAC, AUDIT, populated=True) == ()
    assert shims_after(START, AUDIT, populated=False) == ()


def test_every_published_revision_can_be_a_step() -> None:
    assert [SchemaAt(one.id).needs for one in revisions.REVISIONS] == [
        one.id for one in revisions.REVISIONS
    ]
