"""Roles and permissions of OpsSight: who may do what by default, and what the database can name.

Source: OpsSight's models/role.py and services/role_service.py; the labels of the enum types
systemrole and permissiontype at d8b40ecdc203, which no later revision alters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Role:
    """One role. ``priority`` is None for ADMIN, which exists in the database only."""

    label: str
    value: str
    priority: int | None
    display_name: str


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission.

    ``category`` is None where the application has none (it never seeds those). ``in_database``
    tells whether the enum has the label. ``roles`` has one letter for each role that is granted
    it by default: S, O, D, M, E, V, A, in the order of ``ROLES``.
    """

    label: str
    category: str | None
    in_database: bool
    roles: str


ROLES: tuple[Role, ...] = (
    Role("SUPER_ADMIN", "super_admin", 100, "Super Admin"),
    Role("ORGANIZATION_OWNER", "org_owner", 90, "Org Owner"),
    Role("DEVOPS_ADMIN", "devops_admin", 80, "Devops Admin"),
    Role("MANAGER", "manager", 60, "Manager"),
    Role("ENGINEER", "engineer", 40, "Engineer"),
    Role("VIEWER", "viewer", 20, "Viewer"),
    Role("API_ONLY", "api_only", 30, "Api Only"),
    Role("ADMIN", "admin", None, "Admin"),
)

DATABASE_ROLES: tuple[str, ...] = ("SUPER_ADMIN", "ADMIN", "MANAGER", "ENGINEER", "VIEWER")
"""The labels of the enum systemrole, in its order."""

DEFAULT_ROLE = "VIEWER"

PERMISSION_ALIASES: dict[str, str] = {"MANAGE_MONITORING": "MONITORING_MANAGEMENT"}

_ORGANIZATION = "Organization Management"
_USER = "User Management"
_TEAM = "Team Management"
_PROJECT = "Project Management"
_INFRASTRUCTURE = "Infrastructure Management"
_PIPELINE = "Pipeline Management"
_AUTOMATION = "Automation Management"
_ALERT = "Alert Management"
_COST = "Cost Management"
_ROLE = "Role Management"
_SYSTEM = "System Administration"
_API = "API Access Management"
_DEVOPS = "DevOps Operations"

PERMISSIONS: tuple[Permission, ...] = (
    Permission("CREATE_ORGANIZATIONS", _ORGANIZATION, False, "S"),
    Permission("UPDATE_ORGANIZATIONS", _ORGANIZATION, False, "S"),
    Permission("DELETE_ORGANIZATIONS", _ORGANIZATION, False, "S"),
    Permission("VIEW_ALL_ORGANIZATIONS", _ORGANIZATION, False, "S"),
    Permission("CREATE_USERS", _USER, True, "SO"),
    Permission("UPDATE_USERS", _USER, True, "SO"),
    Permission("DELETE_USERS", _USER, True, "SO"),
    Permission("VIEW_USERS", _USER, True, "SODMEV"),
    Permission("INVITE_USERS", _USER, False, "SOM"),
    Permission("MANAGE_USERS", None, False, "S"),
    Permission("CREATE_TEAMS", _TEAM, True, "SOM"),
    Permission("UPDATE_TEAMS", _TEAM, True, "SOM"),
    Permission("DELETE_TEAMS", _TEAM, True, "SO"),
    Permission("VIEW_TEAMS", _TEAM, True, "SODMEV"),
    Permission("MANAGE_TEAM_MEMBERS", _TEAM, True, "SODM"),
    Permission("MANAGE_TEAMS", None, False, "S"),
    Permission("CREATE_PROJECTS", _PROJECT, True, "SOM"),
    Permission("UPDATE_PROJECTS", _PROJECT, True, "SODM"),
    Permission("DELETE_PROJECTS", _PROJECT, True, "SO"),
    Permission("VIEW_PROJECTS", _PROJECT, True, "SODMEVA"),
    Permission("MANAGE_PROJECTS", None, False, "S"),
    Permission("VIEW_INFRASTRUCTURE", _INFRASTRUCTURE, True, "SODMEVA"),
    Permission("MANAGE_INFRASTRUCTURE", _INFRASTRUCTURE, True, "SOD"),
    Permission("DEPLOY_INFRASTRUCTURE", _INFRASTRUCTURE, True, "SOD"),
    Permission("VIEW_PIPELINES", _PIPELINE, True, "SODMEVA"),
    Permission("TRIGGER_PIPELINES", _PIPELINE, True, "SODMEA"),
    Permission("MANAGE_PIPELINES", _PIPELINE, True, "SOD"),
    Permission("VIEW_AUTOMATION", _AUTOMATION, True, "SODMEVA"),
    Permission("TRIGGER_AUTOMATION", _AUTOMATION, True, "SODMEA"),
    Permission("MANAGE_AUTOMATION", _AUTOMATION, True, "SOD"),
    Permission("VIEW_ALERTS", _ALERT, True, "SODMEVA"),
    Permission("ACKNOWLEDGE_ALERTS", _ALERT, True, "SODMEA"),
    Permission("RESOLVE_ALERTS", _ALERT, True, "SODM"),
    Permission("MANAGE_ALERTS", _ALERT, True, "SOD"),
    Permission("VIEW_COSTS", _COST, True, "SODMEVA"),
    Permission("MANAGE_COST_BUDGETS", _COST, True, "SODM"),
    Permission("VIEW_ROLES", _ROLE, True, "SODMV"),
    Permission("MANAGE_ROLES", _ROLE, True, "SO"),
    Permission("VIEW_SYSTEM_LOGS", _SYSTEM, True, "S"),
    Permission("MANAGE_SYSTEM_SETTINGS", _SYSTEM, True, "S"),
    Permission("VIEW_AUDIT_LOGS", None, False, "S"),
    Permission("EXPORT_AUDIT_LOGS", None, False, "S"),
    Permission("MANAGE_AUDIT_LOGS", None, False, "S"),
    Permission("DELETE_AUDIT_LOGS", None, False, "S"),
    Permission("MANAGE_ORG_SETTINGS", _ORGANIZATION, False, "SO"),
    Permission("VIEW_ORG_SETTINGS", _ORGANIZATION, False, "SODMV"),
    Permission("MANAGE_ORG_BILLING", _ORGANIZATION, False, "SO"),
    Permission("VIEW_ORG_BILLING", _ORGANIZATION, False, "SO"),
    Permission("API_READ_ACCESS", _API, False, "SODMEVA"),
    Permission("API_WRITE_ACCESS", _API, False, "SODA"),
    Permission("API_ADMIN_ACCESS", _API, False, "SO"),
    Permission("WEBHOOK_MANAGEMENT", _API, False, "SOA"),
    Permission("TOKEN_MANAGEMENT", _API, False, "SOA"),
    Permission("CLUSTER_MANAGEMENT", _DEVOPS, False, "SOD"),
    Permission("DEPLOYMENT_MANAGEMENT", _DEVOPS, False, "SODEA"),
    Permission("MONITORING_MANAGEMENT", _DEVOPS, False, "SOD"),
    Permission("VIEW_MONITORING", None, False, "S"),
    Permission("LOG_ACCESS", _DEVOPS, False, "SODMEA"),
    Permission("SECURITY_SCANNING", _DEVOPS, False, "SOD"),
    Permission("ADMIN_READ", None, False, "S"),
    Permission("ADMIN_WRITE", None, False, "S"),
)
"""All 61, in the order of the model."""

DATABASE_PERMISSIONS: tuple[str, ...] = tuple(p.label for p in PERMISSIONS if p.in_database)
"""The 32 labels of the enum permissiontype, in its order."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    category: tuple(p.label for p in PERMISSIONS if p.category == category)
    for category in dict.fromkeys(p.category for p in PERMISSIONS)
    if category is not None
}
"""The 51 permissions that have a category, by category."""

MATRIX: dict[str, tuple[str, ...]] = {
    role.label: tuple(p.label for p in PERMISSIONS if letter in p.roles)
    for role, letter in zip(ROLES, "SODMEVA", strict=False)
}
"""What each role is granted by default. ADMIN has no entry: the models do not know it."""

_CATEGORY_OF = {p.label: p.category for p in PERMISSIONS}
_DISPLAY_NAMES = {role.label: role.display_name for role in ROLES}


def priority(label: str) -> int:
    """Return the priority of a role; 0, the application's default, where it has none."""
    return next(role.priority for role in ROLES if role.label == label) or 0


def display_name(label: str) -> str:
    """Return the name that people see of a role or permission: its value in title case."""
    return _DISPLAY_NAMES.get(label) or label.lower().replace("_", " ").title()


def description(label: str) -> str:
    """Return the description that the application seeds with a permission."""
    return f"{display_name(label)} permission"


def category(label: str) -> str | None:
    """Return the category of a permission, or None where the application gives it none.

    Raises: KeyError, if there is no such permission.
    """
    return _CATEGORY_OF[label]


def grants_in_database(role: str) -> tuple[str, ...]:
    """Return the default permissions of ``role`` that the enum can name, in the enum's order.

    Raises: KeyError, if the models do not know the role (ADMIN).
    """
    return tuple(label for label in DATABASE_PERMISSIONS if label in MATRIX[role])
