"""The statements of the old release: those that are shipped, and those of a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opssight_migrate.model.errors import ConfigError
from opssight_migrate.opssight import old_release
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.old_release import Statement
from opssight_migrate.opssight.revisions import START
from opssight_migrate.opssight.shims import ONCE_UNIQUE
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import rehearsal

BY_ID = {statement.id: statement for statement in old_release.statements()}


def test_ids_are_kebab_case_and_unique() -> None:
    assert len(BY_ID) == len(old_release.statements())
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id_) for id_ in BY_ID)


def test_every_table_is_read_and_written() -> None:
    for table in TABLES_AT_START:
        name = table.replace("_", "-")
        expected = {
            f"count-{name}", f"list-{name}", f"select-{name}-by-key", f"lock-{name}-by-key",
            f"insert-{name}", f"insert-{name}-required", f"update-{name}-by-key",
            f"delete-{name}-by-key",
        }  # fmt: skip
        assert expected <= BY_ID.keys()


def test_every_once_unique_column_is_looked_up_and_upserted() -> None:
    for shim in ONCE_UNIQUE:
        by = f"{shim.table}-by-{shim.column}".replace("_", "-")
        assert f"ON CONFLICT ({shim.column}) DO UPDATE SET" in BY_ID[f"upsert-{by}"].sql
        assert BY_ID[f"select-{by}"].sql.endswith(f"WHERE {shim.column} = $1")


def test_nothing_is_said_that_the_old_release_does_not_know() -> None:
    for statement in BY_ID.values():
        assert "organization" not in statement.sql
        assert "is_system_" not in statement.sql
        assert statement.purpose


def test_an_insert_has_every_column_but_the_numbered_one() -> None:
    assert BY_ID["insert-role-permissions"].sql == (
        "INSERT INTO role_permissions (role_id, permission_id, created_at)"
        " VALUES ($1, $2, $3) RETURNING role_id, permission_id"
    )
    users = golden(START)["tables"]["users"]["columns"]
    named = BY_ID["insert-users"].sql.split("(")[1].split(")")[0].split(", ")
    assert named == [column["name"] for column in users if column["name"] != "id"]


def test_a_required_insert_has_no_more_than_it_must() -> None:
    assert BY_ID["insert-users-required"].sql == (
        "INSERT INTO users (github_id, github_username, is_active, is_superuser)"
        " VALUES ($1, $2, $3, $4) RETURNING id"
    )


def test_parameters_are_numbered_without_a_gap() -> None:
    for statement in BY_ID.values():
        numbers = {int(number) for number in re.findall(r"\$(\d+)", statement.sql)}
        assert numbers == set(range(1, len(numbers) + 1)), statement.id


def test_the_growing_tables_are_the_tenants_and_the_two_of_rbac() -> None:
    assert sorted(old_release.GROWING_TABLES) == [
        "aws_accounts", "clusters", "permissions", "projects", "roles", "teams", "users",
    ]  # fmt: skip


def test_a_file_may_have_parameters_of_four_styles(tmp_path: Path) -> None:
    path = tmp_path / "extra.sql"
    path.write_text(
        "-- a comment; with :colons and %s\n"
        "SELECT a::text FROM users WHERE id = $1 AND bio = 'it''s; :not $2';\n"
        "UPDATE users SET bio = :bio, blog = :blog, company = :bio;\n\n"
        "SELECT 1 FROM users WHERE email LIKE '%%@x' AND id = %(id)s AND id % 2 = %(id)s;\n"
        "INSERT INTO roles VALUES (%s, %s) /* ; */;\n"
        "SELECT $tag$ ; :x $tag$, E'\\'; :y', \"odd;:name\" FROM teams\n",
        encoding="utf-8",
    )
    assert [(s.id, s.sql) for s in rehearsal.from_file(path)] == [
        ("extra.sql:2", "SELECT a::text FROM users WHERE id = $1 AND bio = 'it''s; :not $2'"),
        ("extra.sql:3", "UPDATE users SET bio = $1, blog = $2, company = $1"),
        ("extra.sql:5", "SELECT 1 FROM users WHERE email LIKE '%@x' AND id = $1 AND id % 2 = $1"),
        ("extra.sql:6", "INSERT INTO roles VALUES ($1, $2) /* ; */"),
        ("extra.sql:7", "SELECT $tag$ ; :x $tag$, E'\\'; :y', \"odd;:name\" FROM teams"),
    ]


def test_a_file_that_mixes_styles_or_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "extra.sql"
    path.write_text("SELECT 1;\nSELECT :a, $1;", encoding="utf-8")
    with pytest.raises(ConfigError, match="more than one style") as caught:
        rehearsal.from_file(path)
    assert caught.value.where == "extra.sql:2"
    with pytest.raises(ConfigError, match="cannot be read"):
        rehearsal.from_file(tmp_path / "missing.sql")


def test_select_star_is_found_where_it_changes_its_shape() -> None:
    changes = [
        "SELECT * FROM users WHERE id = $1",
        "select u.*, r.name FROM users u JOIN roles r ON true",
        "SELECT r.name, u . * FROM users u, roles r",
        "SELECT DISTINCT ON (name) * FROM teams",
        "INSERT INTO projects (name) VALUES ($1) RETURNING *",
    ]
    stays = [
        "SELECT count(*) FROM users",
        "SELECT id FROM teams WHERE EXISTS (SELECT * FROM users)",
        "SELECT * FROM alerts",
        "SELECT 'select *' FROM users",
        "SELECT id, 2 * priority FROM roles",
    ]
    found = rehearsal.select_star(
        [Statement(id=text, sql=text, purpose="a test") for text in (*changes, *stays)]
    )
    assert [one.id for one in found] == changes
    assert rehearsal.select_star(old_release.statements()) == ()
