"""The one list of privileges: what is lacking, with the statement that grants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.conftest import run_on

from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import privileges
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

pytestmark = pytest.mark.needs_superuser("it makes the role that lacks something")


@pytest.fixture
def stranger(server: Cluster) -> Iterator[str]:
    """A role that may log in; its name must be quoted. Ask for it before the database."""
    name = f'O\'Hara "{uuid4().hex[:6]}"'
    run_on(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    run_on(server, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_superuser_lacks_nothing(at_start: Session) -> None:
    at_start.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    at_start.execute("ALTER TABLE users FORCE ROW LEVEL SECURITY")

    assert list(privileges.lacking(at_start, TABLES_AT_START)) == []


def test_a_stranger_is_told_all_at_once_and_lacks_nothing_when_all_is_granted(
    stranger: str, at_start: Session, opened: Callable[[str], Session]
) -> None:
    at_start.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    at_start.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    at_start.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    theirs = opened(make_conninfo(at_start.connection.info.dsn, user=stranger))

    found = list(privileges.lacking(theirs, TABLES_AT_START))
    for one in found:
        at_start.execute(sql.SQL(one.grant))

    assert [one.where.split()[0] for one in found] == [
        "database",
        "public.alerts",
        "schema",
        "public.users",
    ]
    assert list(privileges.lacking(theirs, TABLES_AT_START)) == []


def test_the_owner_of_users_must_be_able_to_own_the_new_tables(
    stranger: str, at_start: Session
) -> None:
    at_start.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    at_start.execute(sql.SQL("ALTER TABLE users OWNER TO {}").format(sql.Identifier(stranger)))

    (found,) = privileges.lacking(at_start, TABLES_AT_START)

    quoted = stranger.replace('"', '""')
    assert found.grant == f'GRANT CREATE ON SCHEMA public TO "{quoted}"'
    assert "is to own the new tables too" in found.why
