r"""A sample OpsSight database at d8b40ecdc203: SQL that makes the rows on the server.

The content depends on the volume alone: no clock, no random numbers, the same bytes on every
PostgreSQL since 13. The tables must exist and be empty. Every enum label is in use. Nearly all
awkward values sit in the first rows of a table, so that a sample of 2,500 rows has them too:

- users: no e-mail (a third), one '' e-mail, Anna@ beside anna@, a space-padded e-mail, one name as
  NFC and as NFD login, emoji, right-to-left script, control characters, ``\N``, a login of 1,000
  letters;
- users without role (7 %), two superusers without role, superusers with a lesser role, SUPER_ADMIN
  without is_superuser, inactive users with a role (5 %) and one without;
- ADMIN is an inactive role; VIEW_SYSTEM_LOGS an inactive permission; one default grant is revoked
  (MANAGER), one added (ENGINEER); ADMIN has a set of its own;
- users in two teams; team_memberships and user_teams disagree in role, is_active and in rows;
- rich markup, HTML and SQL in names; over-long and unsluggable names; an empty slug;
- text columns whose JSON is broken, ``None``, '' or has a key twice; json that jsonb rejects
  (``\u0000``, 1e999999), keeps otherwise (keys twice, white space) or writes otherwise (1.0, 1.00);
- texts of 200 kB, some of which compress and some not; NaN, infinities and -0; numerics at their
  limits; timestamps of the years 1 and 9999;
- ids with gaps and no user 1; rows of every kind without a project.

Every value of a sensitive column (tables.SENSITIVE_COLUMNS) contains ``SECRET_MARK``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import LiteralString

from opssight_migrate.opssight import rbac, tables
from opssight_migrate.opssight import sample_activity as activity
from opssight_migrate.opssight import sample_people as people

SECRET_MARK = "not-a-secret"  # noqa: S105 - it says so

# id, label, priority; the models know no priority for ADMIN.
_ROLES = (
    (3, "SUPER_ADMIN", 100),
    (5, "ADMIN", 70),
    (8, "MANAGER", 60),
    (13, "ENGINEER", 40),
    (21, "VIEWER", 20),
)
_GRANTS = {
    "SUPER_ADMIN": rbac.grants_in_database("SUPER_ADMIN"),
    "ADMIN": ("CREATE_USERS", "VIEW_USERS", "VIEW_TEAMS", "MANAGE_PIPELINES", "VIEW_SYSTEM_LOGS"),
    "MANAGER": tuple(
        label for label in rbac.grants_in_database("MANAGER") if label != "MANAGE_COST_BUDGETS"
    ),
    "ENGINEER": (*rbac.grants_in_database("ENGINEER"), "RESOLVE_ALERTS"),
    "VIEWER": rbac.grants_in_database("VIEWER"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How many rows each table gets; roles, permissions and their grants are always the same."""

    users: int = 20_000
    teams: int = 600
    projects: int = 1_600
    team_memberships: int = 30_000
    user_teams: int = 28_000
    clusters: int = 500
    aws_accounts: int = 300
    pipelines: int = 4_000
    pipeline_runs: int = 40_000
    automation_runs: int = 15_000
    infrastructure_changes: int = 10_000
    alerts: int = 20_000
    notification_preferences: int = 12_000
    notification_logs: int = 25_000
    aws_cost_data: int = 30_000
    aws_cost_summaries: int = 1_500
    aws_cost_budgets: int = 300
    aws_cost_anomalies: int = 600
    aws_cost_forecasts: int = 600

    def scaled(self, factor: float) -> Volume:
        """Return this volume times ``factor``, at least one row a table.

        Memberships are cut at the number of pairs that so many users and teams can form.
        """
        rows = {name: max(1, math.ceil(rows * factor)) for name, rows in asdict(self).items()}
        pairs = rows["users"] * rows["teams"]
        for name in ("team_memberships", "user_teams"):
            rows[name] = min(rows[name], pairs)
        return Volume(**rows)

    def by_table(self) -> dict[str, int]:
        """Return the rows of each of the 22 tables."""
        fixed = {
            "roles": len(_ROLES),
            "permissions": len(rbac.DATABASE_PERMISSIONS),
            "role_permissions": sum(map(len, _GRANTS.values())),
        }
        rows = asdict(self) | fixed
        return {table: rows[table] for table in tables.TABLES_AT_START}


USUAL = Volume()
"""About 240,000 rows."""

# In the order of the foreign keys.
_BY_VOLUME: tuple[LiteralString, ...] = (
    people.USERS,
    people.TEAMS,
    people.PROJECTS,
    people.TEAM_MEMBERSHIPS,
    people.USER_TEAMS,
    activity.CLUSTERS,
    activity.AWS_ACCOUNTS,
    activity.PIPELINES,
    activity.PIPELINE_RUNS,
    activity.AUTOMATION_RUNS,
    activity.INFRASTRUCTURE_CHANGES,
    activity.ALERTS,
    activity.NOTIFICATION_PREFERENCES,
    activity.NOTIFICATION_LOGS,
    activity.AWS_COST_DATA,
    activity.AWS_COST_SUMMARIES,
    activity.AWS_COST_BUDGETS,
    activity.AWS_COST_ANOMALIES,
    activity.AWS_COST_FORECASTS,
)

# As after rolled back inserts, every sequence stands a little ahead of its table.
_SEQUENCES_AHEAD = """
SELECT setval(pg_get_serial_sequence(f.name, 'id'), f.top + 10)
  FROM (VALUES
    ('alerts', (SELECT max(id) FROM alerts)),
    ('automation_runs', (SELECT max(id) FROM automation_runs)),
    ('aws_accounts', (SELECT max(id) FROM aws_accounts)),
    ('aws_cost_anomalies', (SELECT max(id) FROM aws_cost_anomalies)),
    ('aws_cost_budgets', (SELECT max(id) FROM aws_cost_budgets)),
    ('aws_cost_data', (SELECT max(id) FROM aws_cost_data)),
    ('aws_cost_forecasts', (SELECT max(id) FROM aws_cost_forecasts)),
    ('aws_cost_summaries', (SELECT max(id) FROM aws_cost_summaries)),
    ('clusters', (SELECT max(id) FROM clusters)),
    ('infrastructure_changes', (SELECT max(id) FROM infrastructure_changes)),
    ('notification_logs', (SELECT max(id) FROM notification_logs)),
    ('notification_preferences', (SELECT max(id) FROM notification_preferences)),
    ('permissions', (SELECT max(id) FROM permissions)),
    ('pipeline_runs', (SELECT max(id) FROM pipeline_runs)),
    ('pipelines', (SELECT max(id) FROM pipelines)),
    ('projects', (SELECT max(id) FROM projects)),
    ('roles', (SELECT max(id) FROM roles)),
    ('teams', (SELECT max(id) FROM teams)),
    ('users', (SELECT max(id) FROM users))
  ) AS f (name, top)
"""


def statements(volume: Volume = USUAL) -> Iterator[tuple[LiteralString, dict[str, object]]]:
    """Yield each statement with its parameters, to be executed in this order.

    The statements are in psycopg's ``%(name)s`` style and must be given their parameters.
    """
    ids, labels, priorities = (list(column) for column in zip(*_ROLES, strict=True))
    yield (
        people.ROLES,
        {
            "ids": ids,
            "labels": labels,
            "shown": [rbac.display_name(label) for _, label, _ in _ROLES],
            "priorities": priorities,
        },
    )
    permissions = rbac.DATABASE_PERMISSIONS
    yield (
        people.PERMISSIONS,
        {
            "labels": list(permissions),
            "shown": [rbac.display_name(label) for label in permissions],
            "descriptions": [rbac.description(label) for label in permissions],
            "categories": [rbac.category(label) for label in permissions],
        },
    )
    for role, granted in _GRANTS.items():
        yield people.GRANTS, {"role": role, "labels": list(granted)}
    for statement in _BY_VOLUME:
        yield statement, asdict(volume)
    yield _SEQUENCES_AHEAD, {}
