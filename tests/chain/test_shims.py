"""The old release beside the new schema: its statements work, thanks to shims."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from tests.chain.looks import (
    SHIMS,
    catalogue_text,
    golden_text,
    shims_up_to,
    without_shims,
)
from tests.conftest import DatabaseAt

from opssight_migrate.model.events import Event, StatementStarted
from opssight_migrate.opssight import revisions, shims
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, START, TARGET
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import catalog, chain
from opssight_migrate.postgres.failures import UniqueError
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

# As the old release writes them: none knows of organizations or of system roles.
_USER = """
INSERT INTO users (github_id, github_username, email, is_active, is_superuser)
VALUES (%(other)s, %(other)s, %(key)s, true, false)
"""
_TEAM = """
INSERT INTO teams (name, slug, is_active, max_members, default_role, created_by_user_id)
SELECT %(key)s, %(other)s, true, 50, 'MEMBER', min(id) FROM users
"""
_PROJECT = """
INSERT INTO projects (name, slug, is_active, is_public, default_branch, team_id,
       created_by_user_id)
SELECT %(key)s, %(other)s, true, false, 'main', min(t.id), min(t.created_by_user_id) FROM teams AS t
"""
_CLUSTER = """
INSERT INTO clusters (cluster_id, name, status, monitoring_enabled, cpu_alert_threshold,
       memory_alert_threshold, storage_alert_threshold)
VALUES (%(key)s, %(key)s, 'HEALTHY', true, 80, 85, 90)
"""
_ACCOUNT = """
INSERT INTO aws_accounts (account_id, account_name, access_key_id, secret_access_key, region,
       is_active)
VALUES ('999000111222', %(key)s, 'AKIAEXAMPLE', 'not-a-secret', 'us-east-1', true)
"""
_INSERTS = {
    "users": _USER,
    "teams": _TEAM,
    "projects": _PROJECT,
    "clusters": _CLUSTER,
    "aws_accounts": _ACCOUNT,
}
_UPSERTS = {
    "users": _USER + " ON CONFLICT (email) DO UPDATE SET full_name = 'again'",
    "teams": _TEAM + " ON CONFLICT (name) DO UPDATE SET description = 'again'",
    "projects": _PROJECT + " ON CONFLICT (name) DO UPDATE SET description = 'again'",
}
_OF_KEY = {
    "users": "SELECT full_name FROM users WHERE email = 'old-release'",
    "teams": "SELECT description FROM teams WHERE name = 'old-release'",
    "projects": "SELECT description FROM projects WHERE name = 'old-release'",
}
_VALUES = {"key": "old-release", "other": "old-release"}
_FREE_A_ROLE = """
UPDATE users SET role_id = NULL WHERE role_id = (SELECT id FROM roles WHERE name = 'ADMIN');
DELETE FROM role_permissions WHERE role_id = (SELECT id FROM roles WHERE name = 'ADMIN');
DELETE FROM roles WHERE name = 'ADMIN'
"""
_ROLE = """
INSERT INTO roles (name, display_name, is_active, is_default, priority)
VALUES ('ADMIN', 'Admin', true, false, 70) ON CONFLICT (name) DO NOTHING
"""
_FREE_A_PERMISSION = """
DELETE FROM role_permissions
 WHERE permission_id = (SELECT id FROM permissions WHERE name = 'VIEW_COSTS');
DELETE FROM permissions WHERE name = 'VIEW_COSTS'
"""
_PERMISSION = """
INSERT INTO permissions (name, display_name, category, is_active)
VALUES ('VIEW_COSTS', 'View Costs', 'Cost Management', true) ON CONFLICT (name) DO NOTHING
"""
_PLACES = [
    ("roles", _ROLE),
    ("permissions", _PERMISSION),
    ("users", _USER),
    ("clusters", _CLUSTER),
    ("aws_accounts", _ACCOUNT),
    (
        "pipelines",
        """INSERT INTO pipelines (pipeline_id, name, pipeline_type, status, branch, commit_sha,
               repository_url, repository_name, repository_owner, is_production_deploy,
               is_rollback, is_scheduled)
           VALUES ('p', 'p', 'BUILD', 'PENDING', 'main', 'c', 'u', 'r', 'o', false, false, false)
        """,
    ),
]


@pytest.fixture
def migrated(populated: Session) -> Session:
    """A populated database that the chain has taken to our target."""
    chain.upgrade(chain.Drive(session=populated), TARGET)
    return populated


@pytest.mark.parametrize("table", _INSERTS)
def test_the_old_release_inserts_without_naming_an_organization(
    migrated: Session, table: str
) -> None:
    assert migrated.execute(_INSERTS[table], _VALUES) == 1

    rows = migrated.rows(f"SELECT organization_id FROM {table} ORDER BY id DESC LIMIT 1")
    assert rows == migrated.rows("SELECT id FROM organizations")


@pytest.mark.parametrize("table", _UPSERTS)
def test_the_old_release_upserts_on_the_once_unique_column(migrated: Session, table: str) -> None:
    migrated.execute(_UPSERTS[table], _VALUES)
    assert migrated.scalar(_OF_KEY[table]) is None

    # The other unique columns are new, so that only the conflict on this one is met.
    assert migrated.execute(_UPSERTS[table], _VALUES | {"other": "second"}) == 1
    assert migrated.scalar(_OF_KEY[table]) == "again"


def test_names_and_e_mails_are_still_unique_for_everybody(migrated: Session) -> None:
    for index in shims.ONCE_UNIQUE:
        if index.table in ("roles", "permissions"):
            continue
        table, column = index.table, index.column
        pair = migrated.rows(
            f"SELECT id FROM {table} WHERE {column} IS NOT NULL ORDER BY id LIMIT 2"
        )
        with pytest.raises(UniqueError, match=index.index):
            migrated.execute(
                f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE id = %s)"
                " WHERE id = %s",
                (pair[0][0], pair[1][0]),
            )


def test_the_old_release_adds_roles_and_permissions_that_are_not_system_ones(
    migrated: Session,
) -> None:
    migrated.execute(_FREE_A_ROLE)
    migrated.execute(_FREE_A_PERMISSION)

    assert [migrated.execute(_ROLE), migrated.execute(_PERMISSION)] == [1, 1]
    assert [migrated.execute(_ROLE), migrated.execute(_PERMISSION)] == [0, 0]

    assert migrated.scalar("SELECT is_system_role FROM roles WHERE name = 'ADMIN'") is False
    assert (
        migrated.scalar("SELECT is_system_permission FROM permissions WHERE name = 'VIEW_COSTS'")
        is False
    )
    with pytest.raises(UniqueError, match="ix_roles_name_once_unique"):
        migrated.execute(_ROLE.replace("ON CONFLICT (name) DO NOTHING", ""))


@pytest.mark.parametrize(("table", "row"), _PLACES, ids=[table for table, _ in _PLACES])
def test_one_row_in_one_table_is_enough_for_all_shims(
    at_start: Session, table: str, row: str
) -> None:
    at_start.execute(row, _VALUES)

    chain.upgrade(chain.Drive(session=at_start), TARGET)

    catalogue, found = without_shims(at_start)
    assert found == shims_up_to(TARGET)
    assert catalogue == golden_text(TARGET)
    empty = [other for other in TABLES_AT_START if catalog.table_is_empty(at_start, other)]
    assert empty == [other for other in TABLES_AT_START if other != table]


def test_the_first_account_of_the_old_release_works_where_only_a_role_was(
    at_start: Session,
) -> None:
    at_start.execute(_ROLE)
    chain.upgrade(chain.Drive(session=at_start), TARGET)

    assert at_start.execute(_ACCOUNT, _VALUES) == 1
    assert at_start.rows("SELECT organization_id FROM aws_accounts") == at_start.rows(
        "SELECT id FROM organizations"
    )


def test_an_empty_database_gets_no_shim_and_no_organization(at_start: Session) -> None:
    chain.upgrade(chain.Drive(session=at_start), HEAD)

    assert catalogue_text(at_start) == golden_text(HEAD)
    assert at_start.scalar("SELECT count(*) FROM organizations") == 0


@pytest.mark.parametrize("revision", [MULTI_TENANCY, revisions.RBAC])
def test_a_row_that_arrives_between_the_look_and_the_locks_brings_the_shims(
    database_at: DatabaseAt, opened: Callable[[str], Session], revision: str
) -> None:
    conninfo = database_at(START, filled=False)
    session = opened(conninfo)
    if revision != MULTI_TENANCY:
        chain.upgrade(chain.Drive(session=session), MULTI_TENANCY)
    arrived: list[str] = []

    def a_role_arrives() -> None:
        # Called on the way to the locks, after the look that found the database empty.
        if not arrived:
            assert catalog.table_is_empty(session, "roles")
            with psycopg.connect(conninfo, autocommit=True) as other:
                other.execute(_ROLE)
            arrived.append("ADMIN")

    chain.upgrade(chain.Drive(session=session, pause_point=a_role_arrives), revision)

    assert arrived == ["ADMIN"]
    _, found = without_shims(session)
    assert found == {shim.name for shim in SHIMS if shim.revision == revision}
    assert session.scalar("SELECT count(*) FROM roles") == 1


def test_no_row_can_arrive_while_an_empty_database_is_changed(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START, filled=False)
    session = opened(conninfo)
    refused: list[str] = []

    def another_session_tries(event: Event) -> None:
        # Receipts of the locks are told when they are let go.
        if not isinstance(event, StatementStarted):
            return
        with psycopg.connect(conninfo, autocommit=True) as other:
            other.execute("SET lock_timeout = '1ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(_ACCOUNT, _VALUES)
        refused.append(event.what)

    chain.upgrade(chain.Drive(session=session, emit=another_session_tries), MULTI_TENANCY)

    assert refused[0] == "CREATE TABLE organizations"
    assert len(refused) > 20
    assert catalogue_text(session) == golden_text(MULTI_TENANCY)
