"""settle-organizations: every row of the five tenant tables belongs to an organization."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.conftest import DatabaseAt, SettingsFor
from tests.steps.conftest import (
    PullThePlugError,
    apply_step,
    batches_in,
    blockers,
    dying_after,
    estimated,
    row_versions,
    run,
)

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.model.errors import PartialError
from opssight_migrate.model.events import BatchDone, Event
from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY, RBAC, START
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.settle_organizations import SettleOrganizations

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]

_ORGANIZATION = """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
    subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES (%s, %s, 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1) RETURNING id
"""
_MORE_USERS = """
INSERT INTO users (id, github_id, github_username, is_active, is_superuser)
SELECT 500000 + n, 'more' || n, 'more' || n, true, false FROM generate_series(1, 1300) AS n
"""
_LIMITS = """
SELECT o.max_users >= 2 * (SELECT count(*) FROM users),
       o.max_projects >= 2 * (SELECT count(*) FROM projects),
       o.max_clusters >= 2 * (SELECT count(*) FROM clusters), o.name, o.slug
  FROM organizations AS o
"""


def make_nullable(session: Session) -> None:
    """Make the one variant that OpsSight's own history knows, without any organization_id."""
    for table in TENANT_TABLES:
        for change in ("ALTER organization_id DROP NOT NULL", "ALTER organization_id DROP DEFAULT"):
            session.execute(
                sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(change))
            )
        session.execute(
            sql.SQL("UPDATE {} SET organization_id = NULL").format(sql.Identifier(table))
        )


def without_organization(session: Session) -> int:
    """Count the tenant rows whose organization_id is NULL."""
    counts = (
        session.scalar(
            sql.SQL("SELECT count(*) FROM {} WHERE organization_id IS NULL").format(
                sql.Identifier(table)
            )
        )
        for table in TENANT_TABLES
    )
    return sum(int(count) for count in counts)


@pytest.fixture
def nullable(database_at: DatabaseAt, opened: Opened) -> Session:
    """A filled OpsSight at 85f9e3f15142 whose organization_id is nullable, and NULL everywhere."""
    session = opened(database_at(MULTI_TENANCY))
    make_nullable(session)
    return session


def test_everything_ends_in_one_roomy_organization_named_by_the_settings(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    settings = settings_for(
        conninfo, tenancy={"default_organization": {"name": "Acme Ltd", "slug": "acme"}}
    )
    request = MigrateRequest(to=MULTI_TENANCY)

    report = run(settings, request)

    session = opened(conninfo)
    assert report.exit_code == 0
    assert session.rows(_LIMITS) == [(True, True, True, "Acme Ltd", "acme")]
    assert without_organization(session) == 0


def test_an_organization_is_made_in_an_empty_database_with_the_limits_of_the_application(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(MULTI_TENANCY, False))

    apply_step(SettleOrganizations(), session, settings_for("host=unused"))

    limits = "SELECT max_users, max_projects, max_clusters, slug FROM organizations"
    assert session.rows(limits) == [(10, 5, 3, "default")]


@pytest.mark.parametrize(
    ("name", "slug"), [("Somebody's Own Name", "default"), ("Default Organization", "their-slug")]
)
def test_an_organization_that_has_the_slug_or_else_the_name_is_taken_as_it_is(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor, name: str, slug: str
) -> None:
    session = opened(database_at(MULTI_TENANCY, False))
    session.rows(_ORGANIZATION, (name, slug))
    before = row_versions(session)

    apply_step(SettleOrganizations(), session, settings_for("host=unused"))

    assert row_versions(session) == before


def test_the_slug_counts_before_the_name(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(MULTI_TENANCY))
    session.execute("UPDATE organizations SET slug = 'other'")
    wanted = session.rows(_ORGANIZATION, ("Elsewhere", "default"))[0][0]
    make_nullable(session)

    apply_step(SettleOrganizations(), session, settings_for("host=unused"))

    assert session.rows("SELECT DISTINCT organization_id FROM users") == [(wanted,)]


def test_rows_without_an_organization_get_the_default_one_and_null_is_forbidden(
    nullable: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    missing = without_organization(nullable)
    planned = estimated(SettleOrganizations(), nullable, settings)

    proof = apply_step(SettleOrganizations(), nullable, settings)

    assert planned.rows == missing > 0
    assert any("users have no organization and get one" in note for note in planned.notes)
    assert without_organization(nullable) == 0
    for table in TENANT_TABLES:
        state = catalog.column_state(nullable, table, "organization_id")
        assert state is not None
        assert state.not_null
        check = catalog.constraint_state(nullable, table, f"{table}_organization_id_not_null")
        assert check is None
    assert proof.identical


def test_rows_follow_their_parent_and_an_organization_that_is_set_stays(
    nullable: Session, settings_for: SettingsFor
) -> None:
    other = nullable.rows(_ORGANIZATION, ("Other", "other"))[0][0]
    nullable.execute(
        "UPDATE users SET organization_id = %s"
        " WHERE id IN (SELECT created_by_user_id FROM teams ORDER BY id LIMIT 3)",
        (other,),
    )
    owned = nullable.rows("SELECT id FROM users WHERE organization_id = %s ORDER BY id", (other,))

    apply_step(SettleOrganizations(), nullable, settings_for("host=unused"))

    strays = """
    SELECT (SELECT count(*) FROM teams AS t JOIN users AS u ON u.id = t.created_by_user_id
             WHERE u.organization_id <> t.organization_id),
           (SELECT count(*) FROM projects AS p JOIN teams AS t ON t.id = p.team_id
             WHERE t.organization_id <> p.organization_id),
           (SELECT count(*) FROM clusters AS c JOIN projects AS p ON p.id = c.project_id
             WHERE p.organization_id <> c.organization_id),
           (SELECT count(*) FROM aws_accounts AS a JOIN projects AS p ON p.id = a.project_id
             WHERE p.organization_id <> a.organization_id)
    """
    moved = """
    SELECT (SELECT count(*) FROM teams WHERE organization_id = %(other)s) > 0,
           (SELECT count(*) FROM projects WHERE organization_id = %(other)s) > 0
    """
    still = nullable.rows("SELECT id FROM users WHERE organization_id = %s ORDER BY id", (other,))
    assert nullable.rows(strays) == [(0, 0, 0, 0)]
    assert nullable.rows(moved, {"other": other}) == [(True, True)]
    assert still == owned


def test_a_second_time_changes_no_row(nullable: Session, settings_for: SettingsFor) -> None:
    settings = settings_for("host=unused")
    apply_step(SettleOrganizations(), nullable, settings)
    before = row_versions(nullable)

    apply_step(SettleOrganizations(), nullable, settings)

    assert row_versions(nullable) == before


def test_a_killed_walk_goes_on_after_the_last_committed_batch(
    nullable: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused", defaults={"batch_target": "1ms"})
    nullable.execute(_MORE_USERS)
    users = int(nullable.scalar("SELECT count(*) FROM users"))
    events: list[Event] = []
    with pytest.raises(PullThePlugError):
        apply_step(SettleOrganizations(), nullable, settings, dying_after(2, events))
    filled = int(nullable.scalar("SELECT count(*) FROM users WHERE organization_id IS NOT NULL"))
    conninfo = nullable.connection.info.dsn
    nullable.close()
    again = opened(conninfo)
    old = again.rows("SELECT id, xmin::text FROM users WHERE organization_id IS NOT NULL")
    events.clear()

    proof = apply_step(SettleOrganizations(), again, settings, events.append)

    assert 500 <= filled < users
    assert batches_in(events)[0] > filled
    assert users in batches_in(events)
    kept = "SELECT id, xmin::text FROM users WHERE id = ANY(%s)"
    assert sorted(again.rows(kept, ([id_ for id_, _ in old],))) == sorted(old)
    assert without_organization(again) == 0
    assert proof.identical


def test_a_row_that_no_fill_can_reach_stops_the_run_and_the_next_one_goes_on(
    nullable: Session, settings_for: SettingsFor
) -> None:
    # A trigger of the database's own undoes the fill of one row.
    nullable.execute("""
        CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.organization_id := NULL; RETURN NEW; END $$;
        CREATE TRIGGER stubborn BEFORE UPDATE ON clusters FOR EACH ROW EXECUTE FUNCTION stubborn();
    """)
    settings = settings_for("host=unused")

    with pytest.raises(PartialError, match="clusters"):
        apply_step(SettleOrganizations(), nullable, settings)
    nullable.execute("DROP TRIGGER stubborn ON clusters")
    apply_step(SettleOrganizations(), nullable, settings)

    assert without_organization(nullable) == 0


def test_a_row_that_appears_behind_the_walk_is_found_and_filled_in_the_same_run(
    nullable: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    other = opened(nullable.connection.info.dsn)
    late: list[Event] = []

    def insert_behind(event: Event) -> None:
        # The walk over the users is over: the next table's batch is done.
        if isinstance(event, BatchDone) and event.table == "teams" and not late:
            other.execute("ALTER TABLE users ALTER organization_id DROP DEFAULT")
            other.execute(_MORE_USERS)
            other.close()
            late.append(event)

    apply_step(SettleOrganizations(), nullable, settings_for("host=unused"), insert_behind)

    assert len(late) == 1
    assert without_organization(nullable) == 0


def test_the_plan_says_that_the_default_of_the_column_covers_every_row(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    session = opened(database_at(START))

    planned = estimated(SettleOrganizations(), session, settings_for("host=unused"))

    assert planned.rows == 0
    assert len(planned.notes) == 1
    assert "is written" in planned.notes[0]
    assert blockers(SettleOrganizations(), session, settings_for("host=unused")) == []


@pytest.mark.parametrize("revision", [RBAC, AUDIT])
def test_the_nullable_variant_is_settled_at_any_later_revision(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor, revision: str
) -> None:
    conninfo = database_at(revision)
    session = opened(conninfo)
    make_nullable(session)
    settings = settings_for(conninfo)

    report = run(settings)

    assert (report.status, report.diagnostics[1:]) == ("ok", ())
    assert without_organization(session) == 0
