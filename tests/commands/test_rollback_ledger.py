"""What a data rollback says before and after: each row that will not come back, by key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.commands.conftest import error_of, everything, run
from tests.commands.test_rollback_data import (
    backed_up,
    conninfo_of,
    dropped,
    restored,
    settings,
)

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.revisions import HEAD, RBAC, START, TARGET
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_further_grants("a swap renames the database and makes another")

__all__ = ["settings"]

_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"
_WRITE = """
INSERT INTO users (github_id, github_username, email, is_active, is_superuser)
SELECT 'late' || n, 'late' || n, n || '@late.test', true, false FROM generate_series(1, %s) AS n
"""


def listed(session: Session, query: str | None) -> list[Any]:
    """Run a query of the ledger as somebody would paste it."""
    assert query is not None
    return session.connection.execute(query.encode()).fetchall()


def test_the_ledger_counts_rows_by_what_happened_to_them_and_lists_them(
    settings: Settings, joined: Callable[[str], Session]
) -> None:
    session = joined(conninfo_of(settings))
    path = backed_up(settings)
    session.execute(_WRITE, (3,))
    ids = [one for (one,) in session.rows("SELECT id FROM users ORDER BY id LIMIT 6")]
    a, b, c = ids[1], ids[2], ids[5]
    session.execute("UPDATE users SET github_username = 'x' || id WHERE id = ANY(%s)", ([a, b, c],))
    gone = session.execute(
        "DELETE FROM team_memberships WHERE team_id = (SELECT min(team_id) FROM team_memberships)"
    )
    assert gone
    session.execute("CREATE TABLE notes (what text)")
    session.execute("INSERT INTO notes VALUES ('a'), ('a'), (NULL)")
    before, databases = everything(session), session.rows(_DATABASES)

    report = restored(settings, path, dry_run=True)

    assert (report.status, report.exit_code) == ("pending", 0), report.diagnostics
    lines = {(one.kind, one.what): one for one in report.losses}
    assert {key: one.rows for key, one in lines.items()} == {
        ("written since", "users"): 3,
        ("changed since", "users"): 3,
        ("deleted since", "team_memberships"): gone,
        ("not in the backup", "notes, a table that the backup does not have"): 3,
    }
    changed = lines["changed since", "users"]
    assert changed.keys == (str(a), str(b), str(c))
    assert changed.query == (
        f'SELECT * FROM "public"."users" AS t WHERE "id" BETWEEN {a} AND {b} OR "id" = {c}'
    )
    written = listed(session, lines["written since", "users"].query)
    assert len(written) == 3
    assert all("@late.test" in str(row) for row in written)
    assert [step.command for step in report.next] == [
        f"opssight-migrate rollback --type data --backup-file {path}"
    ]
    assert everything(session) == before
    assert session.rows(_DATABASES) == databases


def test_rows_without_a_key_and_columns_that_came_later_are_in_the_ledger_too(
    settings: Settings, joined: Callable[[str], Session]
) -> None:
    session = joined(conninfo_of(settings))
    session.execute("CREATE TABLE notes (what text); INSERT INTO notes VALUES ('a'), ('a')")
    path = backed_up(settings)
    session.execute("INSERT INTO notes VALUES ('a'), ('b')")
    session.execute("ALTER TABLE notes ADD COLUMN rank integer DEFAULT 1")
    session.execute("UPDATE notes SET rank = 2 WHERE what = 'b'")

    report = restored(settings, path, dry_run=True)

    lines = {(one.kind, one.what): one for one in report.losses}
    assert {key: one.rows for key, one in lines.items()} == {
        ("written since", "notes"): 2,
        ("not in the backup", "values of notes.rank, which the backup does not have"): 1,
    }
    rows = listed(session, lines["written since", "notes"].query)
    assert {row[0] for row in rows} == {"a", "b"}


@pytest.mark.parametrize("terminates", [False, True])
def test_rows_written_between_question_and_swap_stop_it_or_are_told(
    settings: Settings, joined: Callable[[str], Session], terminates: bool
) -> None:
    conninfo = conninfo_of(settings)
    path = backed_up(settings)
    session = joined(conninfo)
    session.named("opssight-migrate/looking")
    databases = session.rows(_DATABASES)

    def write(plan: Plan, is_copy: bool) -> None:
        assert (plan.losses, is_copy) == ((), False)
        session.execute(_WRITE, (2,))
        session.execute("UPDATE users SET email = NULL WHERE id = (SELECT min(id) FROM users)")

    report = restored(settings, path, write, terminates=terminates)

    if not terminates:
        assert (report.exit_code, error_of(report)[0]) == (7, "OM325")
        assert "users: 3 rows written, 1 changed or deleted" in error_of(report)[1]
        assert session.rows(_DATABASES) == databases
        assert session.scalar("SELECT count(*) FROM users WHERE email ~ 'late'") == 2
        return
    assert report.exit_code == 0, report.diagnostics
    [retired] = report.retired
    [told] = [one.message for one in report.diagnostics if one.severity == "warning"]
    assert told.startswith("users: 3 rows written, 1 changed or deleted after the plan")
    assert retired in told
    with psycopg.connect(conninfo, dbname=retired) as old:
        rows = old.execute(told.rpartition(": ")[2].encode()).fetchall()
    assert len(rows) == 3
    dropped(conninfo, retired)


def test_full_goes_to_the_backup_and_on_to_the_revision_before_anybody_sees_it(
    settings: Settings, joined: Callable[[str], Session]
) -> None:
    conninfo = conninfo_of(settings)
    session = joined(conninfo)
    start = everything(session)
    assert run(settings).exit_code == 0
    path = backed_up(settings)
    assert run(settings, MigrateRequest(to=HEAD)).exit_code == 0
    session.close()

    report = restored(settings, path, to_revision=START)

    assert report.exit_code == 0, report.diagnostics
    assert report.revision is not None
    assert (report.revision.from_, report.revision.to) == (HEAD, START)
    assert [step.status for step in report.steps] == ["done"] * 5
    kinds = {one.kind for one in report.losses}
    assert kinds >= {"archived", "not in the backup"} or "archived" in kinds
    again = joined(conninfo)
    now = everything(again)
    assert now.catalogue == start.catalogue
    assert {table: now.rows[table] for table in start.rows} == start.rows
    assert any(name.startswith("opssight_archive_") for name in now.schemas)
    again.close()
    # Archives come home, the journal knows of no unfinished run, and the audit log has its rows.
    assert run(settings).exit_code == 0
    later = joined(conninfo)
    assert later.scalar("SELECT count(*) FROM user_roles") == 200
    owed = "SELECT count(*) FROM opssight_migrate.audit_rows WHERE written_at IS NULL"
    assert later.scalar(owed) == 0
    later.close()
    dropped(conninfo, *report.retired)


def test_full_refuses_a_revision_that_comes_after_the_backup(settings: Settings) -> None:
    path = backed_up(settings)

    report = restored(settings, path, to_revision=RBAC)

    assert report.exit_code == 7
    assert f"is at {START}, before {RBAC}" in error_of(report)[1]


def test_a_migration_that_stopped_is_not_gone_on_with_after_a_data_rollback(
    settings: Settings, joined: Callable[[str], Session], tmp_path: Path
) -> None:
    del tmp_path
    conninfo = conninfo_of(settings)
    path = backed_up(settings)
    assert run(settings).exit_code == 0
    session = joined(conninfo)
    session.execute("UPDATE opssight_migrate.runs SET status = 'failed'")
    session.close()

    report = restored(settings, path)

    assert report.exit_code == 0, report.diagnostics
    again = joined(conninfo)
    assert again.rows("SELECT command, status FROM opssight_migrate.runs ORDER BY epoch") == [
        ("migrate", "superseded"),
        ("rollback-data", "ok"),
    ]
    again.close()
    assert run(settings).revision is not None
    last = joined(conninfo)
    assert last.scalar("SELECT version_num FROM alembic_version") == TARGET
    last.close()
    dropped(conninfo, *report.retired)
