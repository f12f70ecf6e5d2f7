"""What the old release could no longer do is said before the first change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import error_of, run
from tests.commands.test_rollback import go_back
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.rollback import RollbackRequest
from opssight_migrate.opssight.revisions import MULTI_TENANCY, START, TARGET
from opssight_migrate.postgres import catalog, embedded
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

# After the migration both the table and the subquery have that column.
_AMBIGUOUS = "SELECT organization_id FROM users, (SELECT 1 AS organization_id) AS one"


@pytest.fixture(autouse=True)
def at_home(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's server be the product's own."""
    monkeypatch.setattr(
        embedded, "default_cluster", lambda: Cluster(server.home, server.bin_dir, durable=False)
    )


def test_a_statement_of_the_operator_that_would_fail_refuses_until_it_is_allowed(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    file = tmp_path / "ours.sql"
    file.write_text(f"{_AMBIGUOUS};\nSELECT email FROM users WHERE id = :id", encoding="utf-8")
    settings = settings_for(conninfo, old_release={"statements": str(file)})

    refused = run(settings)

    code, message = error_of(refused)
    assert (refused.exit_code, refused.status, code) == (7, "refused", "OM309")
    assert _AMBIGUOUS in message
    assert "is ambiguous" in message
    assert refused.diagnostics[-1].location == "ours.sql:1"
    assert catalog.current_revision(session) == START
    assert run(settings, MigrateRequest(allow=("OM309",))).exit_code == 0
    assert catalog.current_revision(session) == TARGET


def test_what_would_fail_for_some_rows_only_is_announced_and_refuses_nothing(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    planned = run(settings_for(database_at(START), old_release={}), MigrateRequest(dry_run=True))

    said = [line for line in planned.announcements if line.startswith("Old release: ")]
    assert planned.status == "pending"
    assert len(said) == 1
    assert "DELETE FROM users" in said[0]
    assert "user_roles" in said[0]


def test_after_a_rollback_by_schema_the_old_releases_statements_are_rehearsed(
    database_at: DatabaseAt, settings_for: SettingsFor, tmp_path: Path
) -> None:
    file = tmp_path / "ours.sql"
    file.write_text(_AMBIGUOUS, encoding="utf-8")
    conninfo = database_at(START, filled=False)
    settings = settings_for(conninfo, old_release={"statements": str(file)})
    assert run(settings_for(conninfo)).exit_code == 0

    report = go_back(settings, RollbackRequest(to_revision=MULTI_TENANCY))

    # What fails is told, and takes nothing back.
    seen = {one.id: one.status for one in report.checks}
    assert (report.exit_code, seen["old-release"]) == (0, "failed")
    assert "ours.sql:1" in [one.location for one in report.diagnostics]
