"""audit-is-configured and runs-left-audit-rows: what is audited, and what was."""

from __future__ import annotations

from collections.abc import Callable

from tests.checks.conftest import failures, outcome
from tests.conftest import DatabaseAt

from opssight_migrate.checks.audit_is_configured import AuditIsConfigured
from opssight_migrate.checks.runs_left_audit_rows import RunsLeftAuditRows
from opssight_migrate.opssight.revisions import AUDIT, RBAC
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


def test_a_migrated_database_passes_both(migrated: Session) -> None:
    assert failures(AuditIsConfigured(), migrated) == []
    assert failures(RunsLeftAuditRows(), migrated) == []


def test_a_missing_configuration_is_named_by_table_and_operation(migrated: Session) -> None:
    migrated.execute(
        "DELETE FROM audit_configurations WHERE table_name = 'metrics' AND operation <> 'INSERT'"
    )

    (found,) = failures(AuditIsConfigured(), migrated)

    assert (found.rows, found.keys) == (2, ("metrics DELETE", "metrics UPDATE"))


def test_an_organization_without_configuration_is_counted(migrated: Session) -> None:
    migrated.execute("""
        INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active,
            is_verified, subscription_tier, max_users, max_projects, max_clusters,
            storage_limit_gb)
        VALUES ('O', 'o', 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1)
    """)

    (found,) = failures(AuditIsConfigured(), migrated)

    assert (found.rows, len(found.keys)) == (36, 5)


def test_an_operation_that_the_operator_switched_off_is_configured_all_the_same(
    migrated: Session,
) -> None:
    migrated.execute("UPDATE audit_configurations SET is_enabled = false, retention_days = NULL")

    assert failures(AuditIsConfigured(), migrated) == []


def test_audit_rows_that_somebody_deleted_are_named_by_their_id(migrated: Session) -> None:
    gone = migrated.rows("""
        DELETE FROM audit_logs WHERE id IN (SELECT id FROM audit_logs ORDER BY id LIMIT 2)
        RETURNING id, audit_id::text
    """)

    (found,) = failures(RunsLeftAuditRows(), migrated)

    assert (found.where, found.rows) == ("audit_logs", 2)
    assert set(found.keys) == {audit_id for _, audit_id in gone}


def test_every_run_and_step_left_a_row_with_an_operation_of_opssight(migrated: Session) -> None:
    waiting = "SELECT count(*) FROM opssight_migrate.audit_rows WHERE written_at IS NULL"
    left = """
    SELECT record_id, operation::text, severity::text
      FROM audit_logs WHERE category = 'migration' ORDER BY id
    """
    run = migrated.scalar("SELECT id FROM opssight_migrate.runs")
    assert migrated.scalar(waiting) == 0
    assert migrated.rows(left) == [
        (run, "UPDATE", "HIGH"),
        ("85f9e3f15142", "UPDATE", "MEDIUM"),
        ("settle-organizations", "UPDATE", "MEDIUM"),
        ("85832f9f86ce", "UPDATE", "MEDIUM"),
        ("assign-roles", "PERMISSION_CHANGE", "HIGH"),
        ("b521a10e8182", "UPDATE", "MEDIUM"),
        ("set-up-time-series", "UPDATE", "LOW"),
        ("80bd6a3c3fa1", "UPDATE", "MEDIUM"),
        ("initialise-audit", "INSERT", "LOW"),
        (run, "UPDATE", "HIGH"),
    ]


def test_a_database_without_a_journal_has_nothing_to_compare(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    assert failures(RunsLeftAuditRows(), opened(database_at(AUDIT, False))) == []


def test_both_are_skipped_before_the_audit_log(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(RBAC, False))

    assert outcome(AuditIsConfigured(), session).skipped
    assert outcome(RunsLeftAuditRows(), session).skipped
