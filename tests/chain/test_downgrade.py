"""The way down: each revision takes out what it made, and refuses where rows or views stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import LiteralString

import pytest
from tests.chain.looks import (
    BEFORE,
    IDS,
    catalogue_of,
    catalogue_text,
    golden_text,
    shims_up_to,
    versions,
    without_shims,
)
from tests.conftest import DatabaseAt

from opssight_migrate.model.errors import RefusedError, RowsWouldBeLostError
from opssight_migrate.opssight import sample
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, RBAC, START, TARGET
from opssight_migrate.postgres import catalog, chain
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_ORGANIZATION = """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
       subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES ('Acme', 'acme', 'UTC', 'USD', 'YYYY', true, true, 'free', 1, 1, 1, 1);
"""
_USER = """
INSERT INTO users (github_id, github_username, is_active, is_superuser, organization_id)
SELECT '1', 'anna', true, false, id FROM organizations;
"""
_ROLE = """
INSERT INTO roles (name, display_name, is_active, is_default, priority, is_system_role,
       organization_id)
SELECT 'VIEWER', 'Viewer', true, true, 20, false, id FROM organizations;
"""
_ASSIGNMENT = """
INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
SELECT u.id, r.id, u.organization_id, true FROM users AS u, roles AS r;
"""
_METRICS = """
INSERT INTO metrics (organization_id, timestamp, metric_name, metric_type, source, value,
       is_interpolated, created_at, updated_at)
SELECT o.id, now(), 'load', 'gauge', 'host', n, false, now(), now()
  FROM organizations AS o, generate_series(1, 3) AS n;
"""
_AUDIT = """
INSERT INTO audit_configurations (organization_id, table_name, operation, is_enabled,
       include_old_values, include_new_values, retention_days, created_at, updated_at)
SELECT id, 'users', 'INSERT', true, true, true, 365, now(), now() FROM organizations;
"""
_GRANTED = """
INSERT INTO permissions (name, display_name, category, is_active, is_system_permission)
VALUES ('VIEW_COSTS', 'View Costs', 'Cost', true, true);
INSERT INTO user_permissions (user_id, permission_id, is_active)
SELECT u.id, p.id, true FROM users AS u, permissions AS p;
"""
# What each revision can lose, by an example, and what its refusal counts.
_LOSSES: list[tuple[str, LiteralString, str]] = [
    (MULTI_TENANCY, _ORGANIZATION, "organizations: 1"),
    (RBAC, _ORGANIZATION + _USER + _ROLE + _ASSIGNMENT, "user_roles: 1"),
    (RBAC, _ORGANIZATION + _ROLE, "roles.organization_id: 1"),
    ("b521a10e8182", _ORGANIZATION + _METRICS, "metrics: 3"),
    (TARGET, _ORGANIZATION + _AUDIT, "audit_configurations: 1"),
    ("e988b93edd68", _ORGANIZATION + _USER + _GRANTED, "user_permissions: 1"),
    (
        HEAD,
        _ORGANIZATION + _USER + _GRANTED + "UPDATE user_permissions SET granted_by = user_id",
        "user_permissions.granted_by: 1",
    ),
]
_VIEWS: list[tuple[str, LiteralString, str]] = [
    (
        MULTI_TENANCY,
        "CREATE VIEW public.tenants AS SELECT id, organization_id FROM users",
        r"users\.organization_id .*view public\.tenants",
    ),
    (
        MULTI_TENANCY,
        "CREATE MATERIALIZED VIEW public.names AS SELECT name FROM organizations",
        r"organizations .*materialized view public\.names",
    ),
    (
        RBAC,
        "CREATE VIEW public.flags AS SELECT is_system_role FROM roles",
        r"roles\.is_system_role .*view public\.flags",
    ),
    (RBAC, "CREATE VIEW public.assigned AS SELECT 1 FROM user_roles", r"view public\.assigned"),
    ("b521a10e8182", "CREATE VIEW public.load AS SELECT value FROM metrics", r"view public\.load"),
    (TARGET, "CREATE VIEW public.trail AS SELECT id FROM audit_logs", r"view public\.trail"),
    (
        "e988b93edd68",
        "CREATE VIEW public.extras AS SELECT id FROM user_permissions",
        r"user_permissions .*view public\.extras",
    ),
    (
        HEAD,
        "CREATE VIEW public.givers AS SELECT granted_by FROM user_permissions",
        r"user_permissions\.granted_by .*view public\.givers",
    ),
]


def _drive(session: Session) -> chain.Drive:
    return chain.Drive(session=session)


@pytest.mark.parametrize("revision", IDS)
def test_up_down_up_on_an_empty_database_stops_at_the_same_catalogues(
    session: Session, revision: str
) -> None:
    below = BEFORE.get(revision)
    if below is not None:
        chain.upgrade(_drive(session), below)
    bottom = catalogue_text(session)
    assert below is None or bottom == golden_text(below)

    chain.upgrade(_drive(session), revision)
    assert catalogue_text(session) == golden_text(revision)

    chain.downgrade(_drive(session), below or "base")
    assert catalogue_text(session) == bottom
    assert catalog.current_revision(session) == below

    chain.upgrade(_drive(session), revision)
    assert catalogue_text(session) == golden_text(revision)


def test_the_whole_way_down_leaves_neither_tables_nor_types_nor_sequences(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(HEAD, filled=False))

    chain.downgrade(_drive(session), "base")

    left = catalogue_of(session)
    assert (left["tables"], left["enums"], left["sequences"]) == ({}, {}, {})
    chain.upgrade(_drive(session), HEAD)
    assert catalogue_text(session) == golden_text(HEAD)


def test_up_down_up_beside_shims_brings_back_the_unique_indexes_and_then_the_shims(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(RBAC))
    up = catalogue_text(session)

    chain.downgrade(_drive(session), MULTI_TENANCY)
    catalogue, found = without_shims(session)
    assert (catalogue, found) == (golden_text(MULTI_TENANCY), shims_up_to(MULTI_TENANCY))

    chain.upgrade(_drive(session), RBAC)
    assert catalogue_text(session) == up


def test_a_tenant_shim_goes_with_its_column_where_only_roles_have_rows(at_start: Session) -> None:
    at_start.execute(
        "INSERT INTO roles (name, display_name, is_active, is_default, priority)"
        " VALUES ('VIEWER', 'Viewer', true, true, 20)"
    )
    chain.upgrade(_drive(at_start), MULTI_TENANCY)
    up = catalogue_text(at_start)
    at_start.execute("DELETE FROM organizations")

    chain.downgrade(_drive(at_start), START)
    assert catalogue_text(at_start) == golden_text(START)

    chain.upgrade(_drive(at_start), MULTI_TENANCY)
    catalogue, found = without_shims(at_start)
    assert (catalogue, found) == (golden_text(MULTI_TENANCY), shims_up_to(MULTI_TENANCY))
    assert catalogue_text(at_start) == up


@pytest.mark.parametrize(("revision", "rows", "counted"), _LOSSES, ids=[c for *_, c in _LOSSES])
def test_a_downgrade_that_would_take_rows_counts_them_and_changes_nothing(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
    rows: LiteralString,
    counted: str,
) -> None:
    session = opened(database_at(revision, filled=False))
    session.execute(rows)
    before, catalogue = versions(session), catalogue_text(session)

    with pytest.raises(RowsWouldBeLostError, match=rf"\({counted}\)"):
        chain.downgrade(_drive(session), BEFORE[revision])

    assert versions(session) == before
    assert catalogue_text(session) == catalogue
    assert catalog.current_revision(session) == revision


def test_the_first_revision_does_not_go_down_with_the_rows_of_its_22_tables(
    populated: Session,
) -> None:
    before, catalogue = versions(populated), catalogue_text(populated)

    with pytest.raises(RowsWouldBeLostError) as refused:
        chain.downgrade(_drive(populated), "base")

    for table, rows in sample.USUAL.scaled(0.01).by_table().items():
        assert f"{table}: {rows:,}" in refused.value.message
    assert versions(populated) == before
    assert catalogue_text(populated) == catalogue


def test_a_row_that_arrives_after_the_look_saves_its_table(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at("e988b93edd68", filled=False)
    session, other = opened(conninfo), opened(conninfo)
    arrived: list[int] = []

    def a_row_arrives() -> None:
        if not arrived:
            arrived.append(other.execute(_ORGANIZATION + _USER + _GRANTED))

    drive = chain.Drive(session=session, pause_point=a_row_arrives)
    with pytest.raises(RowsWouldBeLostError, match="user_permissions: 1"):
        chain.downgrade(drive, TARGET)

    assert arrived
    assert session.scalar("SELECT count(*) FROM user_permissions") == 1
    assert catalogue_text(session) == golden_text("e988b93edd68")


@pytest.mark.parametrize(("revision", "view", "named"), _VIEWS, ids=[n for *_, n in _VIEWS])
def test_a_view_on_what_is_to_go_is_named_and_nothing_is_changed(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
    view: LiteralString,
    named: str,
) -> None:
    session = opened(database_at(revision, filled=False))
    session.execute(view)

    with pytest.raises(RefusedError, match=named):
        chain.downgrade(_drive(session), BEFORE[revision])

    assert catalogue_text(session) == golden_text(revision)


_OTHERS: list[tuple[str, LiteralString, str]] = [
    (
        MULTI_TENANCY,
        "CREATE TABLE bills (id int, organization_id int REFERENCES organizations)",
        "organizations .*constraint bills_organization_id_fkey on table bills",
    ),
    (
        MULTI_TENANCY,
        "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        " CREATE TRIGGER moved AFTER UPDATE OF organization_id ON users"
        " FOR EACH ROW EXECUTE FUNCTION noop()",
        r"users\.organization_id .*trigger moved on table users",
    ),
    (
        RBAC,
        "ALTER TABLE roles ADD COLUMN own int GENERATED ALWAYS AS (organization_id + 1) STORED",
        r"roles\.organization_id .*column own of table roles",
    ),
    (
        TARGET,
        "CREATE TABLE notes (id int, operation auditoperation)",
        "type auditoperation .*column operation of table notes",
    ),
    (
        TARGET,
        "CREATE FUNCTION worst(auditseverity[]) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        r"type auditseverity .*function worst\(auditseverity\[\]\)",
    ),
    (
        START,
        "CREATE TABLE extra (user_id int REFERENCES users)",
        "users .*constraint extra_user_id_fkey on table extra",
    ),
]


@pytest.mark.parametrize(("revision", "statement", "named"), _OTHERS, ids=[n for *_, n in _OTHERS])
def test_an_object_of_somebody_else_that_stands_on_ours_is_named_and_nothing_is_changed(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
    statement: LiteralString,
    named: str,
) -> None:
    session = opened(database_at(revision, filled=False))
    session.execute(statement)
    before = catalogue_text(session)

    with pytest.raises(RefusedError, match=named):
        chain.downgrade(_drive(session), BEFORE.get(revision, "base"))

    assert catalogue_text(session) == before
    assert catalog.current_revision(session) == revision


def test_what_others_put_on_a_table_goes_with_the_table(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(TARGET, filled=False))
    session.execute("CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'")
    session.execute(
        "CREATE TRIGGER moved AFTER UPDATE OF operation ON audit_logs"
        " FOR EACH ROW EXECUTE FUNCTION noop()"
    )
    session.execute("CREATE INDEX audit_dba ON audit_logs (operation, severity)")
    session.execute("ALTER TABLE audit_logs ADD CONSTRAINT named CHECK (operation <> 'SELECT')")

    chain.downgrade(_drive(session), BEFORE[TARGET])

    assert catalogue_text(session) == golden_text(BEFORE[TARGET])
