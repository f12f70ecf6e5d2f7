"""The statements that the release of ``d8b40ecdc203`` depends on, with $1, $2, … as parameters.

Those that follow from a table's columns are made from the golden catalogue, as an ORM makes them:
every column by name, ids left to their sequences. The others are written out.
"""

# The parts are names of the golden catalogue, and the texts go to a scratch database only.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from opssight_migrate.opssight.golden import Catalogue, Column, Table, golden
from opssight_migrate.opssight.revisions import START
from opssight_migrate.opssight.shims import DEFAULTS

GROWING_TABLES: tuple[str, ...] = tuple(shim.table for shim in DEFAULTS)
"""The tables of the old release that get columns: ``SELECT *`` of these changes its shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement of an application.

    ``id`` names it to the operator, ``purpose`` says what for or where it was found, ``calls``
    is how often the server has seen it, or None where nobody counted.
    """

    id: str
    sql: str
    purpose: str
    calls: int | None = None


@cache
def statements() -> tuple[Statement, ...]:
    """Return all that are shipped; no two have the same id."""
    return (*of_catalogue(golden(START)), *_WRITTEN)


def of_catalogue(catalogue: Catalogue) -> Iterator[Statement]:
    """Make the reads and writes by key of each table of a catalogue."""
    for name, table in catalogue["tables"].items():
        yield from _reads(name, table)
        yield from _writes(name, table)
        yield from _upserts(name, table)


def required_columns(table: Table) -> list[Column]:
    """Return the columns that an INSERT must name: NOT NULL and without a default."""
    return [c for c in table["columns"] if not c["nullable"] and c["default"] is None]


def _reads(name: str, table: Table) -> Iterator[Statement]:
    key, columns = _key(table), ", ".join(_names(table["columns"]))
    yield _made(f"count-{name}", f"SELECT count(*) FROM {name}", "numbers on a page")
    yield _made(
        f"list-{name}",
        f"SELECT {columns} FROM {name} ORDER BY {', '.join(key)} LIMIT $1 OFFSET $2",
        "a page of a list",
    )
    yield _made(
        f"select-{name}-by-key", f"SELECT {columns} FROM {name} WHERE {_equal(key)}", "one row"
    )
    yield _made(
        f"lock-{name}-by-key",
        f"SELECT {', '.join(key)} FROM {name} WHERE {_equal(key)} FOR UPDATE",
        "one row, before it is changed",
    )
    for column in _natural_keys(table):
        yield _made(
            f"select-{name}-by-{column}",
            f"SELECT {columns} FROM {name} WHERE {column} = $1",
            "one row by its natural key",
        )


def _writes(name: str, table: Table) -> Iterator[Statement]:
    key = _key(table)
    given = _names(c for c in table["columns"] if not _is_numbered(c))
    required = _names(required_columns(table))
    others = [column for column in _names(table["columns"]) if column not in key]
    yield _made(f"insert-{name}", _insert(name, given, key), "a new row with all its columns")
    yield _made(
        f"insert-{name}-required", _insert(name, required, key), "a new row, the rest by default"
    )
    # The key comes first, so that its parameters have the first numbers.
    changes = _equal(others, ", ", len(key) + 1)
    yield _made(
        f"update-{name}-by-key", f"UPDATE {name} SET {changes} WHERE {_equal(key)}", "one row"
    )
    yield _made(f"delete-{name}-by-key", f"DELETE FROM {name} WHERE {_equal(key)}", "one row")


def _upserts(name: str, table: Table) -> Iterator[Statement]:
    given = _names(c for c in table["columns"] if not _is_numbered(c))
    for column in _natural_keys(table):
        changes = ", ".join(f"{c} = excluded.{c}" for c in given if c != column)
        yield _made(
            f"upsert-{name}-by-{column}",
            f"{_insert(name, given)} ON CONFLICT ({column}) DO UPDATE SET {changes}",
            "a row that may be there already",
        )


def _made(id_: str, sql: str, purpose: str) -> Statement:
    return Statement(id=id_.replace("_", "-"), sql=sql, purpose=purpose)


def _insert(name: str, columns: Sequence[str], returning: Sequence[str] = ()) -> str:
    values = ", ".join(f"${place}" for place, _ in enumerate(columns, 1))
    tail = f" RETURNING {', '.join(returning)}" if returning else ""
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({values}){tail}"


def _equal(columns: Sequence[str], between: str = " AND ", first: int = 1) -> str:
    return between.join(f"{column} = ${place}" for place, column in enumerate(columns, first))


def _names(columns: Iterable[Column]) -> list[str]:
    return [column["name"] for column in columns]


def _key(table: Table) -> list[str]:
    return table["primary_key"]["columns"] if table["primary_key"] else []


def _is_numbered(column: Column) -> bool:
    return (column["default"] or "").startswith("nextval(")


def _natural_keys(table: Table) -> list[str]:
    # Every unique index of the old release beside a primary key has one column.
    return [
        index["definition"].rsplit("(", 1)[1].rstrip(")")
        for index in table["indexes"]
        if index["unique"] and not index["primary"]
    ]


_WRITTEN: tuple[Statement, ...] = (
    Statement(
        id="log-in-by-github-id",
        purpose="the user who logs in, with role",
        sql="""
SELECT u.id, u.github_id, u.github_username, u.email, u.is_active, u.is_superuser, r.name
  FROM users AS u LEFT JOIN roles AS r ON r.id = u.role_id
 WHERE u.github_id = $1 AND u.is_active""",
    ),
    Statement(
        id="sign-up-or-log-in",
        purpose="GitHub's answer at a log-in",
        sql="""
INSERT INTO users (github_id, github_username, email, full_name, avatar_url, is_active,
       is_superuser, github_access_token, github_scope, last_login)
VALUES ($1, $2, $3, $4, $5, true, false, $6, $7, now())
ON CONFLICT (github_id) DO UPDATE
   SET github_username = excluded.github_username, email = excluded.email,
       github_access_token = excluded.github_access_token, last_login = now()
RETURNING id, role_id""",
    ),
    Statement(
        id="sign-up-by-email",
        purpose="an invited user, once for each address",
        sql="""
INSERT INTO users (github_id, github_username, email, is_active, is_superuser, role_id)
VALUES ($1, $2, $3, true, false, (SELECT id FROM roles WHERE is_default LIMIT 1))
ON CONFLICT (email) DO NOTHING
RETURNING id""",
    ),
    Statement(
        id="find-users-by-text",
        purpose="the search box",
        sql="""
SELECT id, github_username, email, full_name FROM users
 WHERE lower(email) LIKE lower($1) OR github_username ILIKE $1 OR full_name ILIKE $1
 ORDER BY github_username LIMIT $2""",
    ),
    Statement(
        id="note-last-login",
        purpose="the time of the last log-in",
        sql="UPDATE users SET last_login = now(), updated_at = now() WHERE github_id = $1",
    ),
    Statement(
        id="permissions-of-user",
        purpose="may this user do that?",
        sql="""
SELECT p.name FROM users AS u
  JOIN roles AS r ON r.id = u.role_id AND r.is_active
  JOIN role_permissions AS g ON g.role_id = r.id
  JOIN permissions AS p ON p.id = g.permission_id AND p.is_active
 WHERE u.id = $1""",
    ),
    Statement(
        id="seed-role",
        purpose="the roles, at every start",
        sql="""
INSERT INTO roles (name, display_name, description, is_active, is_default, priority)
VALUES ($1, $2, $3, true, $4, $5)
ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name, updated_at = now()""",
    ),
    Statement(
        id="seed-permission",
        purpose="the permissions, at every start",
        sql="""
INSERT INTO permissions (name, display_name, description, category, is_active)
VALUES ($1, $2, $3, $4, true)
ON CONFLICT (name) DO NOTHING""",
    ),
    Statement(
        id="grant-by-name",
        purpose="a role's permission",
        sql="""
INSERT INTO role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM roles AS r, permissions AS p WHERE r.name = $1 AND p.name = $2
ON CONFLICT (role_id, permission_id) DO NOTHING""",
    ),
    Statement(
        id="give-role-by-name",
        purpose="a user's role",
        sql="UPDATE users SET role_id = r.id FROM roles AS r WHERE r.name = $1 AND users.id = $2",
    ),
    Statement(
        id="teams-of-user",
        purpose="my teams, with the number of their members",
        sql="""
SELECT t.id, t.name, t.slug, m.role, m.joined_at,
       (SELECT count(*) FROM team_memberships AS o WHERE o.team_id = t.id) AS members
  FROM teams AS t JOIN team_memberships AS m ON m.team_id = t.id
 WHERE m.user_id = $1 AND t.is_active ORDER BY t.name""",
    ),
    Statement(
        id="members-of-team",
        purpose="a team's page",
        sql="""
SELECT u.id, u.github_username, u.email, ut.role, ut.is_active, i.github_username AS invited_by
  FROM user_teams AS ut JOIN users AS u ON u.id = ut.user_id
  LEFT JOIN users AS i ON i.id = ut.invited_by_user_id
 WHERE ut.team_id = $1 ORDER BY ut.joined_at""",
    ),
    Statement(
        id="join-team",
        purpose="a member, or the member's new role",
        sql="""
INSERT INTO team_memberships (team_id, user_id, role, invited_by_user_id)
VALUES ($1, $2, $3, $4)
ON CONFLICT (team_id, user_id) DO UPDATE SET role = excluded.role""",
    ),
    Statement(
        id="leave-all-teams",
        purpose="a user who goes",
        sql="""
WITH left_teams AS (DELETE FROM user_teams WHERE user_id = $1 RETURNING team_id)
DELETE FROM team_memberships WHERE user_id = $1 OR team_id IN (SELECT team_id FROM left_teams)""",
    ),
    Statement(
        id="projects-of-user",
        purpose="my projects",
        sql="""
SELECT p.id, p.name, p.slug, p.is_public, t.name AS team, c.github_username AS created_by
  FROM projects AS p JOIN teams AS t ON t.id = p.team_id
  JOIN users AS c ON c.id = p.created_by_user_id
  JOIN team_memberships AS m ON m.team_id = t.id
 WHERE m.user_id = $1 AND p.is_active ORDER BY p.updated_at DESC LIMIT $2""",
    ),
    Statement(
        id="project-by-team-and-slug",
        purpose="a project's page",
        sql="""
SELECT p.id, p.name, p.settings, p.notification_config FROM projects AS p
  JOIN teams AS t ON t.id = p.team_id
 WHERE t.slug = $1 AND p.slug = $2""",
    ),
    Statement(
        id="latest-pipelines-of-project",
        purpose="a project's page",
        sql="""
SELECT DISTINCT ON (name) id, name, status, branch, commit_sha, started_at, duration_seconds
  FROM pipelines WHERE project_id = $1 ORDER BY name, started_at DESC NULLS LAST""",
    ),
    Statement(
        id="finish-pipeline-run",
        purpose="the webhook at the end of a run",
        sql="""
WITH finished AS (
    UPDATE pipeline_runs SET status = $2, completed_at = now(), duration_seconds = $3
     WHERE external_id = $1 RETURNING pipeline_id, status)
UPDATE pipelines AS p SET status = f.status, completed_at = now(), updated_at = now()
  FROM finished AS f WHERE p.id = f.pipeline_id""",
    ),
    Statement(
        id="pipelines-by-status",
        purpose="the dashboard",
        sql="""
SELECT p.status, count(*), avg(p.duration_seconds) FROM pipelines AS p
  JOIN projects AS o ON o.id = p.project_id
 WHERE o.team_id = ANY($1::int[]) AND p.created_at > $2 GROUP BY p.status""",
    ),
    Statement(
        id="open-alerts",
        purpose="the dashboard",
        sql="""
SELECT a.id, a.title, a.severity, a.triggered_at, p.name AS project, c.name AS cluster
  FROM alerts AS a LEFT JOIN projects AS p ON p.id = a.project_id
  LEFT JOIN clusters AS c ON c.id = a.cluster_id
 WHERE a.status IN ('ACTIVE', 'ACKNOWLEDGED') AND a.severity = $1
 ORDER BY a.triggered_at DESC LIMIT $2""",
    ),
    Statement(
        id="acknowledge-alert",
        purpose="the button of an alert",
        sql="""
UPDATE alerts SET status = 'ACKNOWLEDGED', acknowledged_by_user_id = $2, acknowledged_at = now()
 WHERE alert_id = $1 AND status = 'ACTIVE' RETURNING id""",
    ),
    Statement(
        id="sync-cluster",
        purpose="the collector of clusters",
        sql="""
INSERT INTO clusters (cluster_id, name, status, monitoring_enabled, cpu_alert_threshold,
       memory_alert_threshold, storage_alert_threshold, total_nodes, ready_nodes, last_sync)
VALUES ($1, $2, $3, true, 80, 80, 80, $4, $5, now())
ON CONFLICT (cluster_id) DO UPDATE
   SET status = excluded.status, total_nodes = excluded.total_nodes,
       ready_nodes = excluded.ready_nodes, last_sync = excluded.last_sync""",
    ),
    Statement(
        id="sync-aws-account",
        purpose="the collector of costs",
        sql="""
INSERT INTO aws_accounts (account_id, account_name, access_key_id, secret_access_key, region,
       is_active, project_id)
VALUES ($1, $2, $3, $4, $5, true, (SELECT id FROM projects WHERE slug = $6))
ON CONFLICT (account_id) DO UPDATE SET account_name = excluded.account_name""",
    ),
    Statement(
        id="cost-by-service",
        purpose="the page of costs",
        sql="""
SELECT d.service_name, date_trunc('month', d.start_date), sum(d.unblended_cost)
  FROM aws_cost_data AS d JOIN aws_accounts AS a ON a.id = d.aws_account_id
 WHERE a.is_active AND d.start_date >= $1 AND d.end_date < $2
 GROUP BY 1, 2 ORDER BY 3 DESC""",
    ),
    Statement(
        id="whom-to-notify",
        purpose="an alert goes out",
        sql="""
SELECT u.id, u.email, n.channel, n.channel_settings FROM notification_preferences AS n
  JOIN users AS u ON u.id = n.user_id
 WHERE n.is_enabled AND n.notification_type = $1 AND (n.project_id = $2 OR n.project_id IS NULL)""",
    ),
    Statement(
        id="forget-old-notifications",
        purpose="the nightly clearing",
        sql="""
DELETE FROM notification_logs WHERE created_at < $1 AND status IN ('SENT', 'DELIVERED')""",
    ),
)
