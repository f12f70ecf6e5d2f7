"""A role that may not do what a run needs is refused with the GRANT; with it, it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.commands.conftest import error_of, everything, run
from tests.conftest import DatabaseAt, SettingsFor, run_on

from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

pytestmark = pytest.mark.needs_superuser("it makes the roles that lack something")

Opened = Callable[[str], Session]

_TABLES = """
SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


@pytest.fixture
def role(server: Cluster) -> Iterator[str]:
    """A role that may log in and nothing else; ask for it before the database it works in."""
    name = f"role_{uuid4().hex[:8]}"
    run_on(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    run_on(server, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def make_owner(session: Session, role: str) -> None:
    """Give all tables of OpsSight to a role, which may then create in the schema too."""
    for (table,) in session.rows(_TABLES):
        session.execute(
            sql.SQL("ALTER TABLE {} OWNER TO {}").format(
                sql.Identifier(table), sql.Identifier(role)
            )
        )
    session.execute(
        sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(sql.Identifier(role))
    )


def obey(session: Session, hint: str | None) -> None:
    """Run what a refusal tells the administrator to run."""
    assert hint is not None
    session.execute(sql.SQL(hint))


def test_a_role_that_owns_nothing_is_refused_though_it_may_read_everything(
    role: str, database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    for grant in ("CREATE ON DATABASE {database}", "ALL ON SCHEMA public"):
        session.execute(
            sql.SQL("GRANT " + grant + " TO {role}").format(
                role=sql.Identifier(role),
                database=sql.Identifier(session.connection.info.dbname),
            )
        )
    session.execute(
        sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role))
    )
    before = everything(session)

    report = run(settings_for(make_conninfo(conninfo, user=role)))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM303")
    assert "only their owner opssight may alter alerts, " in error_of(report)[1]
    assert report.diagnostics[0].hint == f'GRANT "opssight" TO "{role}";'
    assert everything(session) == before


def test_a_role_that_may_not_even_read_the_stamp_is_refused(
    role: str, database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, False)
    session = opened(conninfo)
    before = everything(session)

    report = run(settings_for(make_conninfo(conninfo, user=role)))

    assert (report.exit_code, error_of(report)[0]) == (7, "OM303")
    assert "alembic_version" in error_of(report)[1]
    assert everything(session) == before


def test_an_owner_without_create_on_the_database_is_refused_and_with_the_grant_migrates(
    role: str, database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    make_owner(session, role)
    settings = settings_for(make_conninfo(conninfo, user=role))
    before = everything(session)

    refused = run(settings)
    unchanged = everything(session) == before
    obey(session, refused.diagnostics[0].hint)
    report = run(settings)

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303")
    assert "CREATE on the database" in error_of(refused)[1]
    assert unchanged
    assert (report.exit_code, report.status) == (0, "ok")
    assert catalog.current_revision(session) == AUDIT
    assert {catalog.owner_of(session, table) for (table,) in session.rows(_TABLES)} == {role}


def test_an_owner_that_may_not_write_the_stamp_is_refused_before_the_first_change(
    role: str, database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START, False)
    session = opened(conninfo)
    make_owner(session, role)
    session.execute("ALTER TABLE alembic_version OWNER TO opssight")
    for grant in ("CREATE ON DATABASE {database}", "SELECT ON alembic_version"):
        session.execute(
            sql.SQL("GRANT " + grant + " TO {role}").format(
                role=sql.Identifier(role),
                database=sql.Identifier(session.connection.info.dbname),
            )
        )
    settings = settings_for(make_conninfo(conninfo, user=role))
    before = everything(session)

    refused = run(settings)
    unchanged = everything(session) == before
    obey(session, refused.diagnostics[0].hint)
    report = run(settings)

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303")
    assert refused.diagnostics[0].location == "public.alembic_version"
    assert unchanged
    assert report.exit_code == 0


def test_row_security_that_is_forced_on_the_owner_is_refused_and_nothing_is_hidden(
    role: str, database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    make_owner(session, role)
    session.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
            sql.Identifier(session.connection.info.dbname), sql.Identifier(role)
        )
    )
    session.execute("""
        ALTER TABLE users ENABLE ROW LEVEL SECURITY;
        ALTER TABLE users FORCE ROW LEVEL SECURITY;
        CREATE POLICY half ON users USING (id % 2 = 0);
    """)
    settings = settings_for(make_conninfo(conninfo, user=role))
    before = everything(session)

    refused = run(settings)
    unchanged = everything(session) == before
    obey(session, refused.diagnostics[0].hint)
    report = run(settings)

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303")
    assert error_of(refused)[1] == "row security would hide rows of users"
    assert unchanged
    assert report.exit_code == 0
    assert "policy half on users" in report.kept
    assert "row security users on users" in report.kept
