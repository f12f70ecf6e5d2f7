"""The sample database: awkward in every way it promises, and the same each time."""

from __future__ import annotations

from dataclasses import asdict
from typing import LiteralString

import pytest
from psycopg import sql

from opssight_migrate.opssight import rbac, sample
from opssight_migrate.opssight.tables import (
    SENSITIVE_COLUMNS,
    TABLES_AT_START,
    TABLES_WITHOUT_ID,
)
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

SMALL = sample.USUAL.scaled(0.01)

# Each says how many rows have the trait; None of them may be zero (or false).
AWKWARD: dict[str, LiteralString] = {
    "users without an e-mail": "SELECT count(*) FROM users WHERE email IS NULL",
    "exactly one empty e-mail": "SELECT count(*) = 1 FROM users WHERE email = ''",
    "e-mails that differ in case only": """
        SELECT count(*) FROM users AS a JOIN users AS b ON lower(a.email) = lower(b.email)
         WHERE a.id < b.id""",
    "a space-padded e-mail": "SELECT count(*) FROM users WHERE email <> btrim(email)",
    "logins equal after normalisation": """
        SELECT count(*) FROM users AS a JOIN users AS b
            ON normalize(a.github_username, NFC) = normalize(b.github_username, NFC)
         WHERE a.id < b.id""",
    "an emoji": r"SELECT count(*) FROM users WHERE full_name LIKE E'%\U0001F4BB%'",
    "a right-to-left name": r"SELECT count(*) FROM users WHERE full_name ~ E'[\u0600-\u06FF]'",
    "control characters": r"SELECT count(*) FROM users WHERE github_username ~ E'[\t\n]'",
    "a name that COPY writes as NULL": r"SELECT count(*) FROM users WHERE full_name = '\N'",
    "an over-long login": "SELECT count(*) FROM users WHERE length(github_username) > 255",
    "SQL in a login": "SELECT count(*) FROM users WHERE github_username LIKE '%DROP TABLE%'",
    "no user 1": "SELECT count(*) = 0 FROM users WHERE id = 1",
    "gaps in the ids": "SELECT max(id) - min(id) >= 2 * count(*) FROM users",
    "users without a role": """
        SELECT count(*) FILTER (WHERE role_id IS NULL) BETWEEN 0.06 * count(*) AND 0.09 * count(*)
          FROM users""",
    "two superusers without a role": """
        SELECT count(*) = 2 FROM users WHERE is_superuser AND role_id IS NULL AND is_active""",
    "superusers with a lesser role": """
        SELECT count(*) FROM users AS u JOIN roles AS r ON r.id = u.role_id
         WHERE u.is_superuser AND r.name <> 'SUPER_ADMIN' AND u.is_active""",
    "an inactive superuser": """
        SELECT count(*) FROM users WHERE is_superuser AND NOT is_active""",
    "SUPER_ADMIN without is_superuser": """
        SELECT count(*) FROM users AS u JOIN roles AS r ON r.id = u.role_id
         WHERE NOT u.is_superuser AND r.name = 'SUPER_ADMIN'""",
    "inactive users with a role": """
        SELECT count(*) FILTER (WHERE NOT is_active AND role_id IS NOT NULL) >= 0.04 * count(*)
          FROM users""",
    "an inactive user without a role": """
        SELECT count(*) FROM users WHERE NOT is_active AND role_id IS NULL""",
    "users in several teams": """
        SELECT count(*) FROM (SELECT user_id FROM team_memberships
                               GROUP BY user_id HAVING count(*) > 1) AS several""",
    "memberships that disagree in role": """
        SELECT count(*) FROM team_memberships AS m JOIN user_teams AS u USING (user_id, team_id)
         WHERE m.role <> u.role""",
    "memberships that are inactive in user_teams": """
        SELECT count(*) FROM team_memberships AS m JOIN user_teams AS u USING (user_id, team_id)
         WHERE NOT u.is_active""",
    "rows in team_memberships alone": """
        SELECT count(*) FROM team_memberships AS m LEFT JOIN user_teams AS u
         USING (user_id, team_id) WHERE u.user_id IS NULL""",
    "rows in user_teams alone": """
        SELECT count(*) FROM user_teams AS u LEFT JOIN team_memberships AS m
         USING (user_id, team_id) WHERE m.user_id IS NULL""",
    "five roles": "SELECT count(*) = 5 FROM roles",
    "an inactive role in use": """
        SELECT count(*) FROM users AS u JOIN roles AS r ON r.id = u.role_id
         WHERE NOT r.is_active AND r.name = 'ADMIN'""",
    "32 permissions": "SELECT count(*) = 32 FROM permissions",
    "an inactive permission": "SELECT count(*) FROM permissions WHERE NOT is_active",
    "rich markup in names": r"SELECT count(*) FROM teams WHERE name ~ '\[/?[a-z]+\]'",
    "HTML in names": "SELECT count(*) FROM projects WHERE name LIKE '<script>%'",
    "an over-long project name": "SELECT count(*) FROM projects WHERE length(display_name) > 5000",
    "an unsluggable project name": r"SELECT count(*) FROM projects WHERE name !~ '\w'",
    "an empty project slug": "SELECT count(*) FROM projects WHERE slug = ''",
    "an empty team slug": "SELECT count(*) FROM teams WHERE slug = ''",
    "broken JSON in text": "SELECT count(*) FROM teams WHERE settings = '{broken'",
    "markup where JSON should be": "SELECT count(*) FROM teams WHERE settings = '[red] not json'",
    "Python's None where JSON should be": "SELECT count(*) FROM projects WHERE settings = 'None'",
    "nothing where JSON should be": "SELECT count(*) FROM projects WHERE settings = ''",
    "1.0 beside 1.00 in JSON text": """
        SELECT count(DISTINCT context_data) = 2 FROM alerts WHERE context_data LIKE '{"v": 1.0%'""",
    "json that jsonb rejects": r"""
        SELECT count(*) FROM aws_cost_data WHERE raw_data::text LIKE '%\\u0000%'""",
    "the same in another table": r"""
        SELECT count(*) FROM aws_cost_anomalies WHERE raw_data::text LIKE '%\\u0000%'""",
    "a number that jsonb rejects": """
        SELECT count(*) FROM aws_cost_data WHERE raw_data::text LIKE '%1e999999%'""",
    "json with a key twice": """
        SELECT count(*) FROM aws_cost_data WHERE raw_data::text = '{"a": 1, "a": 2}'""",
    "json with odd white space": r"""
        SELECT count(*) FROM aws_cost_data WHERE raw_data::text = E' { "cost" :\t1.0 } '""",
    "texts of 200 kB": "SELECT count(*) >= 3 FROM notification_logs WHERE length(content) > 200000",
    "logs of 200 kB": "SELECT count(*) >= 2 FROM automation_runs WHERE length(log_output) > 200000",
    "pipelines without a project": "SELECT count(*) FROM pipelines WHERE project_id IS NULL",
    "automation without a project": "SELECT count(*) FROM automation_runs WHERE project_id IS NULL",
    "changes without a project": """
        SELECT count(*) FROM infrastructure_changes WHERE project_id IS NULL""",
    "alerts without a project": "SELECT count(*) FROM alerts WHERE project_id IS NULL",
    "alerts of another project than their pipeline's": """
        SELECT count(*) FROM alerts AS a JOIN pipelines AS p ON p.id = a.pipeline_id
         WHERE a.project_id IS DISTINCT FROM p.project_id""",
    "clusters without a project": "SELECT count(*) FROM clusters WHERE project_id IS NULL",
    "accounts without a project": "SELECT count(*) FROM aws_accounts WHERE project_id IS NULL",
    "NaN": "SELECT count(*) FROM pipelines WHERE cpu_usage_percent = 'NaN'",
    "infinity": "SELECT count(*) FROM clusters WHERE health_score = 'Infinity'",
    "minus zero": "SELECT count(*) FROM pipelines WHERE cpu_usage_percent::text = '-0'",
    "a numeric NaN": "SELECT count(*) FROM aws_cost_data WHERE usage_quantity = 'NaN'",
    "a numeric at its limit": """
        SELECT count(*) FROM aws_cost_data WHERE unblended_cost = 99999999.9999""",
    "the year 1": "SELECT count(*) FROM users WHERE created_at = '0001-01-01 00:00:00+00'",
    "the year 9999": "SELECT count(*) FROM users WHERE last_login > '9999-12-31 00:00:00+00'",
}

_ENUM_COLUMNS = """
SELECT c.relname, a.attname,
       array_agg(DISTINCT e.enumlabel::text) AS labels
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind = 'r'
  JOIN pg_enum AS e ON e.enumtypid = a.atttypid
 WHERE c.relnamespace = 'public'::regnamespace
 GROUP BY 1, 2
"""


def load(session: Session, volume: sample.Volume) -> None:
    """Make the sample's rows."""
    for statement, parameters in sample.statements(volume):
        session.execute(statement, parameters)


def digests(session: Session) -> dict[str, str]:
    """Return a digest of the rows of each table, whatever their order on disk."""
    query = sql.SQL(
        """SELECT md5(string_agg(line, '' ORDER BY line COLLATE "C"))
             FROM (SELECT md5(t::text) AS line FROM {} AS t) AS lines"""
    )
    return {table: session.scalar(query.format(sql.Identifier(table))) for table in TABLES_AT_START}


def test_every_table_has_as_many_rows_as_the_volume_says(at_start: Session) -> None:
    load(at_start, SMALL)
    counts = {
        table: at_start.scalar(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        for table in TABLES_AT_START
    }
    assert counts == SMALL.by_table()
    assert min(counts.values()) > 0


def test_the_smallest_sample_loads_as_well(at_start: Session) -> None:
    smallest = sample.USUAL.scaled(0.000_001)
    assert set(asdict(smallest).values()) == {1}
    load(at_start, smallest)
    assert at_start.scalar("SELECT count(*) FROM users") == 1


def test_the_content_depends_on_nothing_but_the_volume(at_start: Session) -> None:
    load(at_start, SMALL)
    first = digests(at_start)
    tables = sql.SQL(", ").join(map(sql.Identifier, TABLES_AT_START))
    at_start.execute(sql.SQL("TRUNCATE {}").format(tables))
    at_start.execute("SET TimeZone = 'America/New_York'")
    at_start.execute("SET DateStyle = 'German'")
    at_start.execute("SET extra_float_digits = 0")
    load(at_start, SMALL)
    at_start.prepare()
    assert digests(at_start) == first


@pytest.mark.parametrize("factor", [0.01, 0.05])
def test_every_awkward_value_is_present(at_start: Session, factor: float) -> None:
    load(at_start, sample.USUAL.scaled(factor))
    missing = [name for name, query in AWKWARD.items() if not at_start.scalar(query)]
    assert missing == []


def test_the_grants_deviate_from_the_defaults_where_promised(at_start: Session) -> None:
    load(at_start, SMALL)
    granted: dict[str, set[str]] = {}
    for role, label in at_start.rows(
        """SELECT r.name::text, p.name::text FROM role_permissions AS g
             JOIN roles AS r ON r.id = g.role_id JOIN permissions AS p ON p.id = g.permission_id"""
    ):
        granted.setdefault(role, set()).add(label)
    default = {role: set(rbac.grants_in_database(role)) for role in granted if role != "ADMIN"}
    assert granted["SUPER_ADMIN"] == default["SUPER_ADMIN"]
    assert default["MANAGER"] - granted["MANAGER"] == {"MANAGE_COST_BUDGETS"}
    assert granted["ENGINEER"] - default["ENGINEER"] == {"RESOLVE_ALERTS"}
    assert granted["VIEWER"] == default["VIEWER"]
    assert granted["ADMIN"]


def test_every_enum_label_is_in_use_in_every_enum_column(at_start: Session) -> None:
    load(at_start, SMALL)
    unused: dict[str, set[str]] = {}
    for table, column, labels in at_start.rows(_ENUM_COLUMNS):
        used = at_start.rows(
            sql.SQL("SELECT DISTINCT {}::text FROM {}").format(
                sql.Identifier(column), sql.Identifier(table)
            )
        )
        if rest := set(labels) - {label for (label,) in used}:
            unused[f"{table}.{column}"] = rest
    assert unused == {}


def test_every_sensitive_column_has_values_and_all_of_them_bear_the_mark(
    at_start: Session,
) -> None:
    load(at_start, SMALL)
    for table, columns in SENSITIVE_COLUMNS.items():
        for column in columns:
            query = sql.SQL("SELECT count({0}), count(*) FILTER (WHERE {0} LIKE {1}) FROM {2}")
            filled, marked = at_start.rows(
                query.format(
                    sql.Identifier(column),
                    sql.Literal(f"%{sample.SECRET_MARK}%"),
                    sql.Identifier(table),
                )
            )[0]
            assert filled == marked > 0, f"{table}.{column}"


def test_sequences_stand_ahead_of_their_tables(at_start: Session) -> None:
    load(at_start, SMALL)
    for table in set(TABLES_AT_START) - set(TABLES_WITHOUT_ID):
        following, top = at_start.rows(
            sql.SQL("SELECT nextval(pg_get_serial_sequence({}, 'id')), max(id) FROM {}").format(
                sql.Literal(table), sql.Identifier(table)
            )
        )[0]
        assert following > top, table


def test_the_usual_sample_has_more_than_two_hundred_thousand_rows_in_22_tables() -> None:
    rows = sample.USUAL.by_table()
    assert tuple(rows) == TABLES_AT_START
    assert sum(rows.values()) >= 200_000


def test_a_scaled_sample_never_asks_for_more_memberships_than_pairs() -> None:
    for factor in (0.0001, 0.001, 0.003, 4.5):
        volume = sample.USUAL.scaled(factor)
        assert volume.team_memberships <= volume.users * volume.teams
        assert volume.user_teams <= volume.users * volume.teams
    assert sum(sample.USUAL.scaled(4.5).by_table().values()) >= 1_000_000
