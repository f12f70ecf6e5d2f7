"""What is no healthy OpsSight is refused with the right exit code, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from tests.commands.conftest import Asked, error_of, everything, run
from tests.conftest import DatabaseAt, NewDatabase, SettingsFor
from tests.least import as_worker

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.status import status
from opssight_migrate.commands.verify import verify
from opssight_migrate.model.events import unheard
from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY, START
from opssight_migrate.postgres import catalog, journal
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]

DATA = Path(__file__).parent.parent / "data"


def build(session: Session, name: str) -> None:
    """Make the tables and enums of a catalogue file: a stand-in, without keys and indexes."""
    shape = json.loads((DATA / f"schema_{name}.json").read_text(encoding="utf-8"))
    for enum, labels in shape["enums"].items():
        session.execute(
            sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
                sql.Identifier(enum), sql.SQL(", ").join(map(sql.Literal, labels))
            )
        )
    for table, parts in shape["tables"].items():
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column["name"]), sql.SQL(column["type"]))
            for column in parts["columns"]
        )
        session.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), columns))


@contextmanager
def nothing_changes(session: Session) -> Iterator[None]:
    """Fail if anything in the database is not as it was before; a journal would be seen too."""
    before = everything(session)
    yield
    assert everything(session) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("createall_app_models", "create_all() of app.models"),
        ("createall_app_db_models", "create_all() of app.db.models"),
    ],
)
def test_a_database_that_create_all_made_is_recognised_and_refused(
    empty_database: Callable[[], str],
    joined: Opened,
    settings_for: SettingsFor,
    name: str,
    sentence: str,
) -> None:
    conninfo = empty_database()
    session = joined(conninfo)
    build(session, name)

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    code, message = error_of(report)
    assert (report.exit_code, report.status, code) == (7, "refused", "OM302")
    assert sentence in message
    assert report.diagnostics[0].state == "nothing was changed"


def test_a_database_of_somebody_else_is_refused(
    empty_database: Callable[[], str], joined: Opened, settings_for: SettingsFor
) -> None:
    conninfo = empty_database()
    session = joined(conninfo)
    session.execute("CREATE TABLE _prisma_migrations (id int); CREATE TABLE users (id int)")

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM302")
    assert "Prisma" in error_of(report)[1]


@pytest.mark.parametrize("stamp", ["deadbeef0000", "85", "d8b40ecdc203 "])
def test_an_unknown_revision_is_refused_and_part_of_a_name_is_not_a_name(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor, stamp: str
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("UPDATE alembic_version SET version_num = %s", (stamp,))

    settings = settings_for(conninfo)
    with nothing_changes(session):
        refused = run(settings), verify(settings, settings.profile(None), emit=unheard)
        shown = status(settings, settings.profile(None), emit=unheard)

    for report in refused:
        assert (report.exit_code, error_of(report)[0]) == (7, "OM301")
        assert f"revision {stamp!r} is none of the published ones" in error_of(report)[1]
    assert shown.exit_code == 0
    assert any(f"revision {stamp!r} is none" in one.message for one in shown.diagnostics)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("SELECT 1", "there is nothing to verify: no revision of OpsSight is stamped"),
        ("CREATE TABLE users (id int)", "is not made by OpsSight's Alembic chain"),
    ],
)
def test_what_is_no_opssight_is_never_called_as_it_should_be(
    empty_database: Callable[[], str],
    joined: Opened,
    settings_for: SettingsFor,
    made: LiteralString,
    said: str,
) -> None:
    conninfo = empty_database()
    joined(conninfo).execute(made)
    settings = settings_for(conninfo)

    report = verify(settings, settings.profile(None), emit=unheard)

    assert (report.exit_code, error_of(report)[0]) == (7, "OM302")
    assert said in error_of(report)[1]
    assert report.checks == ()


def test_two_stamps_are_refused(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("INSERT INTO alembic_version VALUES (%s)", (MULTI_TENANCY,))

    report = run(settings_for(conninfo))

    assert session.scalar("SELECT count(*) FROM alembic_version") == 2
    assert not journal.exists(session)
    assert (report.exit_code, error_of(report)[0]) == (7, "OM302")


def test_a_database_that_belongs_to_another_environment_is_a_configuration_error(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, filled=False)
    session = opened(conninfo)
    run(settings_for(conninfo), MigrateRequest(to=MULTI_TENANCY))
    session.execute("UPDATE opssight_migrate.installation SET environment = 'production'")

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    code, message = error_of(report)
    assert (report.exit_code, code) == (4, "OM104")
    assert message == "this database belongs to environment 'production', not 'test'"
    assert report.diagnostics[0].hint is not None
    assert "-e production" in report.diagnostics[0].hint


def test_a_copy_of_a_marked_database_is_asked_about_and_adopted_once(
    database_at: DatabaseAt, new_database: NewDatabase, opened: Opened, settings_for: SettingsFor
) -> None:
    original = database_at(START, filled=False)
    run(settings_for(original), MigrateRequest(to=MULTI_TENANCY))
    with psycopg.connect(original) as connection:
        connection.execute("UPDATE opssight_migrate.installation SET environment = 'production'")
        name = connection.info.dbname
    copy = as_worker(new_database(name))
    asked = Asked()

    first = run(settings_for(copy), MigrateRequest(to="85832f9f86ce"), asked=asked)
    second = run(settings_for(copy), asked=asked)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert asked.copies == [True, False]
    marker = "SELECT environment, database_oid = (SELECT oid FROM pg_database"
    marker += " WHERE datname = current_database()) FROM opssight_migrate.installation"
    with psycopg.connect(copy) as connection:
        assert connection.execute(marker.encode()).fetchall() == [("test", True)]
    assert run(settings_for(original)).exit_code == 4


def test_a_view_under_the_name_of_a_new_table_is_refused(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("CREATE VIEW organizations AS SELECT id, name FROM teams")

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM302")
    assert report.diagnostics[0].location == "public.organizations"
    assert "RENAME TO" in str(report.diagnostics[0].hint)


def test_published_tables_are_refused_until_they_are_allowed(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("CREATE PUBLICATION warehouse FOR TABLE users, alerts")

    with nothing_changes(session):
        report = run(settings_for(conninfo))
    allowed = run(settings_for(conninfo), MigrateRequest(allow=("OM308",)))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM308")
    assert "publication warehouse carries users" in error_of(report)[1]
    assert (allowed.exit_code, allowed.status) == (0, "ok")


def test_a_publication_of_tables_that_keep_their_columns_is_no_obstacle(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, filled=False)
    opened(conninfo).execute("CREATE PUBLICATION warehouse FOR TABLE alerts")

    report = run(settings_for(conninfo))

    assert report.exit_code == 0
    assert "publication warehouse on alerts" in report.kept


@pytest.mark.parametrize(
    ("damage", "where", "mending"),
    [
        (
            "DROP INDEX ix_users_id",
            "users.ix_users_id",
            "CREATE INDEX CONCURRENTLY ix_users_id ON users USING btree (id);",
        ),
        (
            "ALTER TABLE teams DROP CONSTRAINT teams_created_by_user_id_fkey",
            "teams.teams_created_by_user_id_fkey",
            'ADD CONSTRAINT "teams_created_by_user_id_fkey" FOREIGN KEY',
        ),
        (
            "ALTER TABLE users ALTER is_active DROP NOT NULL",
            "users.is_active",
            'ALTER TABLE "users" ALTER COLUMN "is_active" SET NOT NULL',
        ),
        (
            "ALTER TABLE users ALTER email TYPE text",
            "users.email",
            "compare it with the same object of a fresh OpsSight",
        ),
    ],
)
def test_an_altered_object_is_refused_with_the_sql_that_mends_it(
    database_at: DatabaseAt,
    opened: Opened,
    settings_for: SettingsFor,
    damage: str,
    where: str,
    mending: str,
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute(sql.SQL(damage))

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM302")
    assert report.diagnostics[0].location == where
    assert mending in str(report.diagnostics[0].hint)


def test_several_altered_objects_are_counted_in_one_refusal(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("DROP INDEX ix_users_id; DROP INDEX ix_teams_id; DROP INDEX ix_roles_id")

    with nothing_changes(session):
        report = run(settings_for(conninfo))

    assert "(and 2 more)" in error_of(report)[1]


def test_the_mending_sql_makes_the_database_acceptable_again(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("DROP INDEX ix_users_id")
    report = run(settings_for(conninfo))

    session.execute(sql.SQL(str(report.diagnostics[0].hint)))

    assert run(settings_for(conninfo), MigrateRequest(dry_run=True)).status == "pending"


def test_dry_run_is_read_only_and_leaves_not_even_a_journal(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    asked = Asked()

    with nothing_changes(session):
        report = run(settings_for(conninfo), MigrateRequest(dry_run=True), asked=asked)

    assert (report.status, report.exit_code, report.dry_run) == ("pending", 0, True)
    assert len(report.steps) == 8
    assert asked.plans == []
    assert catalog.current_revision(session) == START


def test_dry_run_works_where_every_transaction_is_read_only(
    database_at: DatabaseAt, server: Cluster, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    # A trigger would see the start of any statement that writes DDL.
    session.execute("""
        CREATE FUNCTION nobody() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'somebody writes'; END $$;
        CREATE EVENT TRIGGER nobody ON ddl_command_start EXECUTE FUNCTION nobody();
    """)

    assert run(settings_for(conninfo), MigrateRequest(dry_run=True)).status == "pending"


@pytest.mark.parametrize("revision", [START, AUDIT])
def test_status_and_verify_change_nothing(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor, revision: str
) -> None:
    conninfo = database_at(revision)
    session = opened(conninfo)
    settings = settings_for(conninfo)
    profile = settings.profile(None)

    with nothing_changes(session):
        seen = status(settings, profile, emit=unheard)
        verify(settings, profile, emit=unheard)

    assert (seen.status, seen.exit_code) == ("pending", 0)


def test_an_earlier_revision_can_be_the_end_of_the_way(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)

    report = run(settings_for(conninfo), MigrateRequest(to=MULTI_TENANCY))

    assert (report.status, report.exit_code) == ("ok", 0)
    assert [step.id for step in report.steps] == [MULTI_TENANCY, "settle-organizations"]
    assert catalog.current_revision(session) == MULTI_TENANCY
    assert not catalog.relation_exists(session, "user_roles")


def test_a_revision_behind_the_database_is_no_downgrade(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, filled=False)
    run(settings_for(conninfo))
    session = opened(conninfo)

    with nothing_changes(session):
        report = run(settings_for(conninfo), MigrateRequest(to=MULTI_TENANCY))

    assert (report.status, report.exit_code) == ("nothing_to_do", 0)
    assert catalog.current_revision(session) == AUDIT


def test_a_target_that_the_configuration_invents_is_a_configuration_error(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, filled=False)
    project = {"default_environment": "test", "target_revision": "85"}
    session = opened(conninfo)

    with nothing_changes(session):
        report = run(settings_for(conninfo, project=project))
        seen = status(
            (settings := settings_for(conninfo, project=project)),
            settings.profile(None),
            emit=unheard,
        )

    assert (report.exit_code, error_of(report)[0]) == (4, "OM102")
    assert seen.exit_code == 4
