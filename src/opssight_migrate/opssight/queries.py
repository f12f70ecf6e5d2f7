"""The queries that OpsSight answers all day: what ``verify`` measures against the baseline.

Parameters are ids alone, so that no plan quotes what a row says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from opssight_migrate.opssight import revisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query that OpsSight sends.

    ``key`` is the table and column of ids that %(key)s is chosen from, None where it has none.
    ``by_index`` are the tables of which it must find its rows by an index.
    """

    id: str
    title: str
    sql: LiteralString
    needs: str = revisions.START
    key: tuple[str, str] | None = None
    by_index: tuple[str, ...] = ()


QUERIES: tuple[Query, ...] = (
    Query(
        id="sign-in",
        title="A user by the GitHub login",
        sql="SELECT id, full_name, is_active, role_id FROM users WHERE github_username ="
        " (SELECT github_username FROM users WHERE id = %(key)s)",
        key=("users", "id"),
        by_index=("users",),
    ),
    Query(
        id="user-by-email",
        title="A user by e-mail",
        sql="SELECT id, full_name, is_active, role_id FROM users WHERE email ="
        " (SELECT email FROM users WHERE id = %(key)s)",
        key=("users", "id"),
        by_index=("users",),
    ),
    Query(
        id="permissions-of-user",
        title="What a user may do",
        sql="SELECT p.name FROM users AS u JOIN role_permissions AS g ON g.role_id = u.role_id"
        " JOIN permissions AS p ON p.id = g.permission_id AND p.is_active WHERE u.id = %(key)s",
        key=("users", "id"),
        by_index=("users",),
    ),
    Query(
        id="teams-of-user",
        title="The teams of a user",
        sql="SELECT t.id, t.name, t.slug, m.role FROM user_teams AS m"
        " JOIN teams AS t ON t.id = m.team_id WHERE m.user_id = %(key)s AND m.is_active",
        key=("user_teams", "user_id"),
        by_index=("user_teams",),
    ),
    Query(
        id="project-by-slug",
        title="A project by its slug",
        sql="SELECT id, name, team_id, is_active FROM projects WHERE slug ="
        " (SELECT slug FROM projects WHERE id = %(key)s)",
        key=("projects", "id"),
        by_index=("projects",),
    ),
    Query(
        id="pipelines-of-project",
        title="The newest pipelines of a project",
        sql="SELECT id, name, status, created_at FROM pipelines WHERE project_id = %(key)s"
        " ORDER BY created_at DESC LIMIT 20",
        key=("pipelines", "project_id"),
    ),
    Query(
        id="runs-of-pipeline",
        title="The newest runs of a pipeline",
        sql="SELECT id, run_number, status, started_at FROM pipeline_runs"
        " WHERE pipeline_id = %(key)s ORDER BY started_at DESC LIMIT 20",
        key=("pipeline_runs", "pipeline_id"),
        by_index=("pipeline_runs",),
    ),
    Query(
        id="notifications-of-user",
        title="The newest notifications of a user",
        sql="SELECT id, subject, status, created_at FROM notification_logs"
        " WHERE user_id = %(key)s ORDER BY created_at DESC LIMIT 50",
        key=("notification_logs", "user_id"),
        by_index=("notification_logs",),
    ),
    Query(
        id="runs-by-status",
        title="How many runs ended how",
        sql="SELECT status, count(*), avg(duration_seconds) FROM pipeline_runs GROUP BY status",
    ),
    Query(
        id="open-alerts",
        title="The newest alerts that are open",
        sql="SELECT id, title, severity, triggered_at FROM alerts WHERE status = 'ACTIVE'"
        " ORDER BY triggered_at DESC LIMIT 50",
    ),
    Query(
        id="automation-by-status",
        title="How many automation runs ended how",
        sql="SELECT status, count(*) FROM automation_runs GROUP BY status",
    ),
    Query(
        id="costs-by-service",
        title="Costs by service over the newest month",
        sql="SELECT service_name, sum(unblended_cost) FROM aws_cost_data WHERE start_date >="
        " (SELECT max(start_date) FROM aws_cost_data) - interval '30 days' GROUP BY service_name",
    ),
    Query(
        id="projects-of-organization",
        title="The projects of an organization",
        sql="SELECT id, name, slug FROM projects WHERE organization_id = %(key)s"
        " ORDER BY name LIMIT 50",
        needs=revisions.MULTI_TENANCY,
        key=("projects", "organization_id"),
    ),
    Query(
        id="roles-of-user",
        title="The roles of a user, by organization",
        sql="SELECT a.organization_id, r.name, a.expires_at FROM user_roles AS a"
        " JOIN roles AS r ON r.id = a.role_id WHERE a.user_id = %(key)s AND a.is_active",
        needs=revisions.RBAC,
        key=("user_roles", "user_id"),
        by_index=("user_roles",),
    ),
    Query(
        id="metrics-of-project",
        title="A day of a project's metrics, by the hour",
        sql="SELECT date_trunc('hour', timestamp) AS hour, metric_name, avg(value) FROM metrics"
        " WHERE project_id = %(key)s AND timestamp >= now() - interval '1 day' GROUP BY 1, 2",
        needs=revisions.TIME_SERIES,
        key=("metrics", "project_id"),
        by_index=("metrics",),
    ),
    Query(
        id="log-of-organization",
        title="The newest log lines of an organization",
        sql="SELECT timestamp, log_level, message FROM log_entries WHERE organization_id = %(key)s"
        " AND timestamp >= now() - interval '1 day' ORDER BY timestamp DESC LIMIT 100",
        needs=revisions.TIME_SERIES,
        key=("log_entries", "organization_id"),
        by_index=("log_entries",),
    ),
    Query(
        id="audit-of-table",
        title="The newest audit rows of a table",
        sql="SELECT timestamp, operation, record_id, severity FROM audit_logs"
        " WHERE table_name = 'users' ORDER BY timestamp DESC LIMIT 50",
        needs=revisions.AUDIT,
        by_index=("audit_logs",),
    ),
)


def asked_at(revision: str) -> tuple[Query, ...]:
    """Return the queries that a database at ``revision`` can answer."""
    return tuple(query for query in QUERIES if revisions.is_at_least(revision, query.needs))
