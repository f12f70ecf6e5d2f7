"""A database may start anywhere: at each of the seven revisions, with rows, and ends complete."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.chain.looks import (
    IDS,
    catalogue_of,
    catalogue_text,
    digests,
    golden_text,
    nobody_is_asked,
    run_migrate,
    shims_up_to,
    versions,
    without_shims,
)
from tests.conftest import DatabaseAt, NewDatabase, SettingsFor

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import unheard
from opssight_migrate.opssight import shims
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, START, TARGET
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import catalog, standing
from opssight_migrate.postgres.session import Session

# Written once more than the product does: every user, the role expected, the flag expected.
_ASSIGNED_WRONGLY = """
SELECT u.id FROM users AS u
  LEFT JOIN user_roles AS r ON r.user_id = u.id
  LEFT JOIN roles AS o ON o.id = r.role_id
 WHERE r.organization_id IS DISTINCT FROM u.organization_id
    OR r.is_active IS DISTINCT FROM u.is_active
    OR CASE WHEN u.role_id IS NOT NULL THEN r.role_id IS DISTINCT FROM u.role_id
            WHEN u.is_superuser THEN o.name::text IS DISTINCT FROM 'SUPER_ADMIN'
            ELSE o.name::text IS DISTINCT FROM 'VIEWER' END
"""
_USERS_AND_ASSIGNMENTS = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM user_roles)"
_UNSETTLED = "SELECT count(*) FROM {} WHERE organization_id IS DISTINCT FROM %s"
_CHECKS = """
SELECT conname::text FROM pg_constraint
 WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""


def _beyond(revision: str) -> str:
    return max(revision, TARGET, key=IDS.index)


def _assert_complete(session: Session) -> None:
    """Organizations, assignments and audit configurations are all there."""
    organization = session.scalar("SELECT id FROM organizations WHERE slug = 'default'")
    assert session.scalar("SELECT count(*) FROM organizations") == 1
    for table in TENANT_TABLES:
        unsettled = sql.SQL(_UNSETTLED).format(sql.Identifier(table))
        assert session.scalar(unsettled, (organization,)) == 0
    users, assignments = session.rows(_USERS_AND_ASSIGNMENTS)[0]
    assert users == assignments == 200
    assert session.rows(_ASSIGNED_WRONGLY) == []
    assert session.scalar("SELECT count(*) FROM audit_configurations") == 36
    assert session.scalar("SELECT count(*) FROM audit_logs") > 0


@pytest.mark.parametrize("revision", IDS)
def test_a_populated_database_at_any_revision_ends_complete_and_is_never_downgraded(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    revision: str,
) -> None:
    conninfo = database_at(revision)
    session = opened(conninfo)
    before = digests(session)

    report, _ = run_migrate(settings_for(conninfo))

    assert (report.status, report.exit_code) == ("ok", 0)
    end = _beyond(revision)
    assert report.revision is not None
    assert (report.revision.from_, report.revision.to) == (revision, end)
    assert catalog.current_revision(session) == end
    assert without_shims(session) == (golden_text(end), shims_up_to(end))
    with session.reading():
        assert standing.altered(session, end, catalogue_of(session)) == []
    _assert_complete(session)
    assert digests(session, {name: one.columns for name, one in before.items()}) == before


@pytest.mark.parametrize("revision", [START, TARGET, HEAD])
def test_a_second_migrate_has_nothing_to_do_and_changes_not_one_row(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    revision: str,
) -> None:
    conninfo = database_at(revision)
    settings = settings_for(conninfo)
    assert run_migrate(settings)[0].status == "ok"
    session = opened(conninfo)
    before = versions(session), versions(session, "opssight_migrate"), catalogue_text(session)

    report = migrate(
        settings,
        settings.profile(None),
        MigrateRequest(),
        confirm=nobody_is_asked,
        emit=unheard,
    )

    assert (report.status, report.exit_code) == ("nothing_to_do", 0)
    after = versions(session), versions(session, "opssight_migrate"), catalogue_text(session)
    assert after == before
    assert before[1]["runs"][0] == 1


@pytest.mark.parametrize("revision", IDS[1:])
def test_a_database_that_came_by_the_public_road_has_no_shims_and_is_completed_all_the_same(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    revision: str,
) -> None:
    conninfo = database_at(revision)
    session = opened(conninfo)
    _remove_shims(session)
    assert catalogue_text(session) == golden_text(revision)

    report, _ = run_migrate(settings_for(conninfo))

    assert report.status == "ok"
    end = _beyond(revision)
    later = shims_up_to(end) - shims_up_to(revision)
    assert without_shims(session) == (golden_text(end), later)
    assert set(report.shims) == later
    _assert_complete(session)


def _remove_shims(session: Session) -> None:
    for shim in shims.DEFAULTS:
        if catalog.column_state(session, shim.table, shim.column) is not None:
            session.execute(
                sql.SQL("ALTER TABLE {} ALTER {} DROP DEFAULT").format(
                    sql.Identifier(shim.table), sql.Identifier(shim.column)
                )
            )
    for unique in shims.ONCE_UNIQUE:
        session.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(unique.index)))


@pytest.mark.parametrize("to", [None, HEAD])
def test_a_database_without_any_table_gets_the_whole_chain(
    new_database: NewDatabase,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    to: str | None,
) -> None:
    conninfo = new_database()
    settings = settings_for(conninfo)

    report, _ = run_migrate(settings, to)

    assert (report.status, report.shims) == ("ok", ())
    session = opened(conninfo)
    assert catalogue_text(session) == golden_text(to or TARGET)
    assert session.scalar("SELECT count(*) FROM organizations") == 1
    assert session.scalar("SELECT count(*) FROM roles") > 0
    assert session.scalar("SELECT count(*) FROM audit_configurations") == 36
    assert run_migrate(settings, to)[0].status == "nothing_to_do"


@pytest.mark.parametrize("keeps_default", [False, True], ids=["no-default", "default"])
def test_a_nullable_organization_is_filled_and_then_enforced(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    keeps_default: bool,
) -> None:
    conninfo = database_at(MULTI_TENANCY)
    session = opened(conninfo)
    for table in TENANT_TABLES:
        name = sql.Identifier(table)
        for clause in ("DROP NOT NULL", "DROP DEFAULT")[: 1 if keeps_default else 2]:
            session.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN organization_id {}").format(
                    name, sql.SQL(clause)
                )
            )
        emptied = session.execute(
            sql.SQL(
                "UPDATE {table} SET organization_id = NULL"
                " WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT 2)"
            ).format(table=name)
        )
        assert emptied == 2
    before = digests(session)
    columns = {
        table: tuple(column for column in one.columns if column != "organization_id")
        for table, one in before.items()
    }
    before = digests(session, columns)

    report, _ = run_migrate(settings_for(conninfo))

    assert report.status == "ok"
    assert without_shims(session) == (golden_text(TARGET), shims_up_to(TARGET))
    assert session.rows(_CHECKS) == []
    _assert_complete(session)
    assert digests(session, columns) == before
