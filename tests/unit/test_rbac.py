"""Roles and permissions: the counts that OpsSight's own models give."""

from __future__ import annotations

import pytest

from opssight_migrate.opssight import rbac


def test_the_enums_have_five_roles_and_thirty_two_permissions() -> None:
    assert len(rbac.DATABASE_ROLES) == 5
    assert len(rbac.DATABASE_PERMISSIONS) == 32
    assert len(rbac.PERMISSIONS) == 61


@pytest.mark.parametrize(
    ("role", "granted", "in_database"),
    [
        ("SUPER_ADMIN", 61, 32),
        ("ORGANIZATION_OWNER", 45, 30),
        ("DEVOPS_ADMIN", 29, 21),
        ("MANAGER", 23, 19),
        ("ENGINEER", 14, 11),
        ("API_ONLY", 15, 9),
        ("VIEWER", 11, 9),
    ],
)
def test_each_role_has_as_many_grants_as_the_models_give(
    role: str, granted: int, in_database: int
) -> None:
    assert len(rbac.MATRIX[role]) == granted
    assert len(rbac.grants_in_database(role)) == in_database


def test_the_models_grant_nothing_to_admin() -> None:
    assert "ADMIN" not in rbac.MATRIX
    with pytest.raises(KeyError):
        rbac.grants_in_database("ADMIN")


def test_fifty_one_permissions_stand_in_thirteen_categories() -> None:
    labels = [label for labels in rbac.CATEGORIES.values() for label in labels]
    assert len(rbac.CATEGORIES) == 13
    assert len(labels) == len(set(labels)) == 51


def test_every_permission_of_the_database_has_a_category() -> None:
    assert all(rbac.category(label) for label in rbac.DATABASE_PERMISSIONS)
    assert rbac.category("MANAGE_USERS") is None


def test_no_label_stands_twice() -> None:
    labels = [permission.label for permission in rbac.PERMISSIONS]
    assert len(labels) == len(set(labels))
    assert len({role.label for role in rbac.ROLES}) == len(rbac.ROLES) == 8


def test_grants_come_in_the_order_of_the_enum() -> None:
    assert rbac.grants_in_database("SUPER_ADMIN") == rbac.DATABASE_PERMISSIONS
    assert rbac.grants_in_database("VIEWER") == (
        "VIEW_USERS",
        "VIEW_TEAMS",
        "VIEW_PROJECTS",
        "VIEW_INFRASTRUCTURE",
        "VIEW_PIPELINES",
        "VIEW_AUTOMATION",
        "VIEW_ALERTS",
        "VIEW_COSTS",
        "VIEW_ROLES",
    )


def test_a_display_name_is_the_value_in_title_case() -> None:
    for role in rbac.ROLES:
        assert rbac.display_name(role.label) == role.value.replace("_", " ").title()
    assert rbac.display_name("VIEW_USERS") == "View Users"
    assert rbac.description("VIEW_USERS") == "View Users permission"


def test_an_alias_points_at_a_permission_that_exists() -> None:
    for alias, label in rbac.PERMISSION_ALIASES.items():
        assert alias not in {permission.label for permission in rbac.PERMISSIONS}
        assert label in {permission.label for permission in rbac.PERMISSIONS}
