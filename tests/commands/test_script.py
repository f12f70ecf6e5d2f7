"""``migrate -n --sql``: what a run would execute, for a person to read, with nothing changed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from tests.commands.conftest import everything, run
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import embedded
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.recording import is_shown
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

ASKED = MigrateRequest(dry_run=True, tells_sql=True)
DATABASES = "SELECT count(*) FROM pg_database WHERE datname LIKE 'opssight_rehearsal%'"


@pytest.fixture(autouse=True)
def at_home(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's server be the product's own."""
    monkeypatch.setattr(
        embedded, "default_cluster", lambda: Cluster(server.home, server.bin_dir, durable=False)
    )


@pytest.mark.needs_superuser("owners are left out of the SQL, and it owns everything")
def test_the_sql_of_a_database_in_use_is_what_its_run_executes(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    before = everything(session)

    report = run(settings_for(conninfo), ASKED)

    assert (report.exit_code, report.status) == (0, "pending")
    assert everything(session) == before
    assert session.scalar(DATABASES) == 0
    told = report.sql or ""
    steps = re.findall(r"^-- \d+\. (\S+)", told, re.MULTILINE)
    assert steps == ["the", *(step.id for step in report.steps)]
    assert "WHERE u.id > coalesce( :after::bigint" in told
    assert "LIMIT :limit" in told
    assert "opssight_rehearsal" not in told
    assert session.connection.info.dsn not in told
    # The same statements, in the same order, are what a real run sends to the same database.
    heard: list[str] = []
    execute = psycopg.Cursor.execute

    def listening(self: Any, query: Any, params: Any = None, **how: Any) -> Any:
        text = psycopg.ClientCursor(self.connection).mogrify(query, params)
        heard.append(text.strip().rstrip(";"))
        return execute(self, query, params, **how)

    monkeypatch.setattr(psycopg.Cursor, "execute", listening)
    assert run(settings_for(conninfo)).exit_code == 0
    monkeypatch.undo()
    changes = ("CREATE", "ALTER", "DROP", "GRANT")
    executed = [text for text in heard if text.startswith(changes)]
    at = 0
    for text in executed:
        found = told.find(text, at)
        assert found >= 0, text
        at = found + len(text)
    assert len(executed) > 60


def test_an_empty_database_is_told_its_own_way(
    empty_database: Callable[[], str], settings_for: SettingsFor
) -> None:
    told = run(settings_for(empty_database()), ASKED).sql or ""

    assert "an empty database -> 80bd6a3c3fa1" in told
    assert "without a row" in told
    assert "CONCURRENTLY" not in told
    assert "CREATE TABLE users" in told


def test_only_the_steps_of_the_plan_are_told(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    told = run(settings_for(database_at(AUDIT)), ASKED).sql or ""

    assert "INSERT INTO audit_configurations" in told
    assert "CREATE TABLE organizations" not in told


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 1", False),
        ("SELECT set_config('lock_timeout', '50ms', true)", True),
        ("SELECT set_config('application_name', 'x', false)", False),
        ("WITH a AS (SELECT 1) SELECT * FROM a", False),
        ("WITH a AS (DELETE FROM users) SELECT 1", True),
        ("UPDATE opssight_migrate.runs SET status = 'ok'", False),
        ("CREATE TABLE opssight_migrate.runs ()", True),
        ("UPDATE alembic_version SET version_num = 'x'", True),
    ],
)
def test_what_changes_something_is_shown(statement: str, shown: bool) -> None:
    assert is_shown(statement) is shown
