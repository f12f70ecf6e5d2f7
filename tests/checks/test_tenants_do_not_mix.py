"""tenants-do-not-mix finds references from one organization's rows to another's."""

from __future__ import annotations

import pytest
from psycopg import sql
from tests.checks.conftest import failures

from opssight_migrate.checks.tenants_do_not_mix import TenantsDoNotMix
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_ORGANIZATION = """
INSERT INTO organizations (id, name, slug, timezone, currency, date_format, is_active, is_verified,
    subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES (77, 'Other', 'other', 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1)
"""
_A_TENANT_OF_ITS_OWN = """
INSERT INTO users (id, github_id, github_username, is_active, is_superuser, organization_id)
VALUES (900001, 'o1', 'o1', true, false, 77);
INSERT INTO teams (id, name, slug, is_active, max_members, default_role, created_by_user_id,
                   organization_id)
VALUES (900001, 'o', 'o', true, 5, 'MEMBER', 900001, 77);
INSERT INTO projects (id, name, slug, is_active, is_public, default_branch, team_id,
                      created_by_user_id, organization_id)
VALUES (900001, 'o', 'o', true, false, 'main', 900001, 900001, 77);
INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
SELECT 900001, min(id), 77, true FROM roles;
"""


@pytest.fixture
def two(migrated: Session) -> Session:
    """A correct database of two organizations, each with its own rows."""
    migrated.execute(_ORGANIZATION)
    migrated.execute(_A_TENANT_OF_ITS_OWN)
    return migrated


def test_a_correct_database_of_two_organizations_passes(two: Session) -> None:
    assert failures(TenantsDoNotMix(), two) == []


@pytest.mark.parametrize(
    ("leak", "where"),
    [
        ("UPDATE projects SET organization_id = 77 WHERE id = 55", "projects.team_id"),
        ("UPDATE projects SET team_id = 23 WHERE id = 900001", "projects.team_id"),
        (
            "UPDATE teams SET created_by_user_id = 1007 WHERE id = 900001",
            "teams.created_by_user_id",
        ),
        (
            "UPDATE clusters SET project_id = 900001 WHERE id = (SELECT min(id) FROM clusters)",
            "clusters.project_id",
        ),
        (
            "UPDATE roles SET organization_id = 77 WHERE id = (SELECT role_id FROM user_roles"
            " WHERE organization_id <> 77 LIMIT 1)",
            "user_roles.role_id",
        ),
    ],
)
def test_a_reference_across_organizations_is_named(two: Session, leak: str, where: str) -> None:
    two.execute(sql.SQL(leak))

    found = failures(TenantsDoNotMix(), two)

    named = {finding.where: finding for finding in found}
    assert where in named
    assert named[where].rows
    assert "points into another organization's" in named[where].message


def test_a_user_may_hold_a_role_in_a_second_organization(two: Session) -> None:
    two.execute("""
        INSERT INTO user_roles (user_id, role_id, organization_id, is_active, assigned_by)
        SELECT 1007, min(id), 77, true, 1014 FROM roles
    """)

    assert failures(TenantsDoNotMix(), two) == []


def test_a_table_of_somebody_else_with_another_kind_of_key_does_not_stop_the_check(
    two: Session,
) -> None:
    two.execute("""
        CREATE TABLE "Dba Notes" (code text PRIMARY KEY, organization_id text);
        CREATE TABLE dba_marks (id int PRIMARY KEY, organization_id integer,
            note text REFERENCES "Dba Notes", user_id integer REFERENCES users);
        INSERT INTO "Dba Notes" VALUES ('a', '77');
        INSERT INTO dba_marks VALUES (1, 77, 'a', 1007);
    """)

    (found,) = failures(TenantsDoNotMix(), two)

    assert (found.where, found.rows) == ("dba_marks.user_id", 1)
