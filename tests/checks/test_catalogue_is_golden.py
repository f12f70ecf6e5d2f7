"""catalogue-is-golden names every object that is not as OpsSight made it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.checks.conftest import failures, outcome
from tests.least import as_superuser

from opssight_migrate.checks.catalogue_is_golden import CatalogueIsGolden
from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres.session import Session


def test_a_migrated_database_passes_with_its_shims(migrated: Session) -> None:
    assert outcome(CatalogueIsGolden(), migrated).findings == ()


@pytest.mark.parametrize(
    ("damage", "where", "message"),
    [
        ("DROP INDEX ix_user_roles_role_id", "user_roles.ix_user_roles_role_id", "missing"),
        (
            "DROP INDEX ix_teams_id; CREATE INDEX ix_teams_id ON teams (id, name)",
            "teams.ix_teams_id",
            "definition is CREATE INDEX ON teams USING btree (id, name)",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT users_organization_id_fkey",
            "users.users_organization_id_fkey",
            "missing",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT users_organization_id_fkey,"
            " ADD CONSTRAINT users_organization_id_fkey FOREIGN KEY (organization_id)"
            " REFERENCES organizations (id) NOT VALID",
            "users.users_organization_id_fkey",
            "validity is not valid, not valid",
        ),
        (
            "ALTER TYPE auditseverity RENAME VALUE 'LOW' TO 'INFO'",
            "auditseverity",
            "label is nothing, not LOW",
        ),
        ("ALTER TABLE users DROP COLUMN bio", "users.bio", "missing"),
        ("ALTER TABLE users ALTER is_active DROP NOT NULL", "users.is_active", "nullable is true"),
        ("ALTER TABLE events ALTER title TYPE text", "events.title", "type is text"),
        ("DROP TABLE metric_summaries", "metric_summaries", "table metric_summaries is missing"),
        ("ALTER SEQUENCE users_id_seq OWNED BY NONE", "users_id_seq", "owned_by is nothing"),
        (
            "ALTER TABLE user_roles DROP CONSTRAINT _user_org_role_uc",
            "user_roles._user_org_role_uc",
            "missing",
        ),
    ],
)
def test_a_missing_or_altered_object_is_named(
    migrated: Session, damage: str, where: str, message: str
) -> None:
    migrated.execute(sql.SQL(damage))

    found = failures(CatalogueIsGolden(), migrated)

    named = [finding for finding in found if finding.where == where]
    assert len(named) == 1, found
    assert message in named[0].message
    assert named[0].severity is Severity.FAIL


def test_an_index_that_is_invalid_is_named_with_its_reindex(
    migrated: Session, opened: Callable[[str], Session]
) -> None:
    opened(as_superuser(migrated.connection.info.dsn)).execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_users_id'::regclass"
    )

    (found,) = failures(CatalogueIsGolden(), migrated)

    assert found.where == "users.ix_users_id"
    assert found.hint == 'REINDEX INDEX CONCURRENTLY "ix_users_id";'


def test_what_is_additional_is_a_note_and_no_failure(migrated: Session) -> None:
    migrated.execute("CREATE INDEX by_a_dba ON users (blog)")

    assert failures(CatalogueIsGolden(), migrated) == []
    assert [f.message for f in outcome(CatalogueIsGolden(), migrated).findings] == [
        "index users.by_a_dba is not ours"
    ]


def test_a_default_of_another_column_is_no_shim(migrated: Session) -> None:
    migrated.execute("ALTER TABLE users ALTER is_superuser SET DEFAULT true")

    (found,) = failures(CatalogueIsGolden(), migrated)

    assert found.where == "users.is_superuser"
    assert found.hint == 'ALTER TABLE "users" ALTER COLUMN "is_superuser" DROP DEFAULT;'
