"""roles-match-assignments compares users.role_id with user_roles."""

from __future__ import annotations

from tests.checks.conftest import failures, outcome

from opssight_migrate.checks.roles_match_assignments import RolesMatchAssignments
from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


def test_a_migrated_database_passes(migrated: Session) -> None:
    assert outcome(RolesMatchAssignments(), migrated).findings == ()


def test_an_assignment_to_another_role_is_named_by_its_user(migrated: Session) -> None:
    user = migrated.scalar("SELECT min(id) FROM users WHERE role_id = 21")
    migrated.execute("UPDATE user_roles SET role_id = 3 WHERE user_id = %s", (user,))

    (found,) = failures(RolesMatchAssignments(), migrated)

    assert (found.where, found.rows, found.keys) == ("user_roles", 1, (str(user),))


def test_users_whose_assignment_is_missing_are_counted_and_five_are_named(
    migrated: Session,
) -> None:
    users = migrated.scalar("SELECT count(*) FROM users WHERE role_id = 21")
    migrated.execute(
        "DELETE FROM user_roles WHERE role_id = 21 AND user_id IN"
        " (SELECT id FROM users WHERE role_id = 21)"
    )

    (found,) = failures(RolesMatchAssignments(), migrated)

    assert (found.rows, len(found.keys)) == (users, 5)


def test_an_assignment_in_another_organization_does_not_count_for_this_one(
    migrated: Session,
) -> None:
    migrated.execute("""
        INSERT INTO organizations (id, name, slug, timezone, currency, date_format, is_active,
            is_verified, subscription_tier, max_users, max_projects, max_clusters,
            storage_limit_gb)
        VALUES (77, 'O', 'o', 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1);
        UPDATE user_roles SET organization_id = 77
         WHERE user_id = (SELECT min(id) FROM users WHERE role_id IS NOT NULL);
    """)

    assert [finding.rows for finding in failures(RolesMatchAssignments(), migrated)] == [1]


def test_a_user_without_any_role_is_a_note(migrated: Session) -> None:
    migrated.execute(
        "DELETE FROM user_roles WHERE user_id IN (SELECT id FROM users WHERE role_id IS NULL)"
    )

    assert failures(RolesMatchAssignments(), migrated) == []
    notes = outcome(RolesMatchAssignments(), migrated).findings
    without = migrated.scalar("SELECT count(*) FROM users WHERE role_id IS NULL")
    assert [(note.severity, note.rows) for note in notes] == [(Severity.NOTE, without)]
