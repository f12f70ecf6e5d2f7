"""The tables of OpsSight that a migration must know by name."""

from __future__ import annotations

TABLES_AT_START: tuple[str, ...] = (
    "alerts",
    "automation_runs",
    "aws_accounts",
    "aws_cost_anomalies",
    "aws_cost_budgets",
    "aws_cost_data",
    "aws_cost_forecasts",
    "aws_cost_summaries",
    "clusters",
    "infrastructure_changes",
    "notification_logs",
    "notification_preferences",
    "permissions",
    "pipeline_runs",
    "pipelines",
    "projects",
    "role_permissions",
    "roles",
    "team_memberships",
    "teams",
    "user_teams",
    "users",
)
"""The 22 tables at d8b40ecdc203, alembic_version not counted."""

# These key on two columns and own no sequence; the other 19 have an int4 ``id``.
TABLES_WITHOUT_ID: tuple[str, ...] = ("role_permissions", "team_memberships", "user_teams")

TENANT_TABLES: tuple[str, ...] = ("aws_accounts", "clusters", "projects", "teams", "users")
"""The five that get organization_id NOT NULL at 85f9e3f15142, with rows in them."""

ORGANIZATION_NOT_NULL: tuple[str, ...] = (
    "aws_accounts",
    "clusters",
    "events",
    "log_entries",
    "metric_summaries",
    "metric_thresholds",
    "metrics",
    "projects",
    "teams",
    "user_roles",
    "users",
)
"""The eleven whose organization_id is NOT NULL at 80bd6a3c3fa1."""


SENSITIVE_COLUMNS: dict[str, tuple[str, ...]] = {
    "automation_runs": ("extra_vars", "vault_password_file"),
    "aws_accounts": ("access_key_id", "secret_access_key"),
    "infrastructure_changes": ("variables",),
    "notification_preferences": ("channel_settings",),
    "users": ("github_access_token",),
}
"""Columns of the chain that hold secrets: never in an audit row, a log, or on a screen."""
