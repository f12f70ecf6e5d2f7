"""initialise-audit: the writes to the tenant tables are configured for each organization."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conftest import DatabaseAt, SettingsFor
from tests.steps.conftest import apply_step, blockers, context, estimated, row_versions, run

from opssight_migrate.opssight.revisions import AUDIT
from opssight_migrate.opssight.tables import ORGANIZATION_NOT_NULL
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.initialise_audit import InitialiseAudit

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_ORGANIZATION = """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
    subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES ('Other', 'other', 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1) RETURNING id
"""
_CONFIGURED = """
SELECT table_name::text, array_agg(operation::text ORDER BY operation)
  FROM audit_configurations WHERE organization_id = %s GROUP BY 1 ORDER BY 1
"""


@pytest.fixture
def audited(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Session:
    """A filled OpsSight at 80bd6a3c3fa1 without any audit configuration."""
    return opened(database_at(AUDIT))


def test_36_operations_are_configured_for_the_organization(
    audited: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    planned = estimated(InitialiseAudit(), audited, settings)

    apply_step(InitialiseAudit(), audited, settings)

    organization = audited.scalar("SELECT id FROM organizations")
    found: dict[str, list[str]] = dict(audited.rows(_CONFIGURED, (organization,)))
    writes = ["INSERT", "UPDATE", "DELETE"]
    assert found == {
        table: [*writes, "LOGIN", "LOGOUT", "PERMISSION_CHANGE"] if table == "users" else writes
        for table in ORGANIZATION_NOT_NULL
    }
    assert audited.scalar("SELECT count(*) FROM audit_configurations") == 36 == planned.rows
    assert blockers(InitialiseAudit(), audited, settings) == []


def test_each_configuration_is_enabled_and_kept_for_a_year(
    audited: Session, settings_for: SettingsFor
) -> None:
    apply_step(InitialiseAudit(), audited, settings_for("host=unused"))

    kinds = """
    SELECT DISTINCT is_enabled, include_old_values, include_new_values, excluded_fields,
           required_fields, retention_days, severity_override::text, created_by
      FROM audit_configurations
    """
    assert audited.rows(kinds) == [(True, True, True, [], [], 365, None, None)]


def test_the_columns_that_hold_secrets_are_named_sensitive(
    audited: Session, settings_for: SettingsFor
) -> None:
    apply_step(InitialiseAudit(), audited, settings_for("host=unused"))

    sensitive = """
    SELECT DISTINCT table_name::text, sensitive_fields::text
      FROM audit_configurations WHERE sensitive_fields <> '[]' ORDER BY 1
    """
    assert audited.rows(sensitive) == [
        ("aws_accounts", '["access_key_id", "secret_access_key"]'),
        ("users", '["github_access_token"]'),
    ]


def test_a_configuration_that_is_there_stays_as_it_is(
    audited: Session, settings_for: SettingsFor
) -> None:
    audited.execute("""
        INSERT INTO audit_configurations (organization_id, table_name, operation, is_enabled,
            include_old_values, include_new_values, retention_days, created_at, updated_at)
        SELECT id, 'users', 'DELETE', false, false, false, 7, now(), now() FROM organizations
    """)
    theirs = "SELECT xmin::text, a::text FROM audit_configurations AS a WHERE retention_days = 7"
    before = audited.rows(theirs)

    apply_step(InitialiseAudit(), audited, settings_for("host=unused"))

    assert audited.rows(theirs) == before
    assert audited.scalar("SELECT count(*) FROM audit_configurations") == 36


def test_a_second_time_changes_no_row(audited: Session, settings_for: SettingsFor) -> None:
    settings = settings_for("host=unused")
    apply_step(InitialiseAudit(), audited, settings)
    before = row_versions(audited)

    apply_step(InitialiseAudit(), audited, settings)

    assert row_versions(audited) == before


def test_an_organization_added_later_gets_its_own_at_the_next_run(
    database_at: DatabaseAt, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    conninfo = database_at(AUDIT)
    settings = settings_for(conninfo)
    session = opened(conninfo)
    run(settings)
    later = session.rows(_ORGANIZATION)[0][0]
    before = row_versions(session, without=("audit_logs", "audit_configurations"))

    report = run(settings)

    rows = session.rows("SELECT organization_id, count(*) FROM audit_configurations GROUP BY 1")
    assert report.status == "ok"
    assert [step.id for step in report.steps] == ["initialise-audit"]
    assert dict(rows)[later] == 36
    assert len(rows) == 2
    assert row_versions(session, without=("audit_logs", "audit_configurations")) == before


def test_a_step_that_dies_inside_leaves_nothing_and_the_next_run_does_it_whole(
    audited: Session, settings_for: SettingsFor
) -> None:
    # The fault: the journal cannot write the step's end, in the transaction of its rows.
    settings = settings_for("host=unused")
    apply_step(InitialiseAudit(), audited, settings)
    audited.execute("DELETE FROM audit_configurations")
    audited.execute("ALTER TABLE audit_logs ADD CONSTRAINT closed CHECK (false) NOT VALID")

    with pytest.raises(Exception, match="closed"):
        apply_step(InitialiseAudit(), audited, settings)
    left = audited.scalar("SELECT count(*) FROM audit_configurations")
    audited.execute("ALTER TABLE audit_logs DROP CONSTRAINT closed")
    apply_step(InitialiseAudit(), audited, settings)

    assert left == 0
    assert audited.scalar("SELECT count(*) FROM audit_configurations") == 36


def test_its_verification_names_what_is_missing(
    audited: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    apply_step(InitialiseAudit(), audited, settings)
    audited.execute("DELETE FROM audit_configurations WHERE operation = 'LOGOUT'")

    with audited.reading():
        found = list(InitialiseAudit().verify(context(audited, settings)))

    assert [(finding.rows, finding.keys) for finding in found] == [(1, ("users LOGOUT",))]
