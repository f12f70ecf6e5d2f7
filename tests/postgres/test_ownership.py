"""New objects get the owner of public.users and the grants that were made there."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from psycopg import sql
from tests.conftest import run_on

from opssight_migrate.postgres import catalog, ownership
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

pytestmark = pytest.mark.needs_superuser("it makes the role that owns the tables")

_ACL = "SELECT coalesce(relacl::text, '') FROM pg_class WHERE oid = to_regclass(%s)"


@pytest.fixture
def owner(server: Cluster) -> Iterator[str]:
    """A role with a name that must be quoted; ask for it before the database it works in."""
    name = f'App "Owner" {uuid4().hex[:6]}'
    run_on(server, sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
    yield name
    run_on(server, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_table_sequence_and_type_follow_users(owner: str, at_start: Session) -> None:
    role = sql.Identifier(owner)
    at_start.execute(sql.SQL("ALTER TABLE users OWNER TO {}").format(role))
    at_start.execute("GRANT SELECT ON users TO PUBLIC")
    at_start.execute("GRANT INSERT ON users TO pg_monitor WITH GRANT OPTION")
    at_start.execute("GRANT USAGE ON SEQUENCE users_id_seq TO pg_monitor")
    at_start.execute("CREATE TABLE loans (id serial PRIMARY KEY); CREATE TYPE mood AS ENUM ('A')")

    ownership.adopt_table(at_start, "loans")
    ownership.adopt_type(at_start, "mood")

    type_owner = "SELECT pg_get_userbyid(typowner) FROM pg_type WHERE typname = 'mood'"
    acl = str(at_start.scalar(_ACL, ("loans",)))
    assert catalog.owner_of(at_start, "loans") == owner
    assert catalog.owner_of(at_start, "loans_id_seq") == owner
    assert at_start.scalar(type_owner) == owner
    assert "=r/" in acl
    assert "pg_monitor=a*/" in acl
    assert "pg_monitor=U/" in str(at_start.scalar(_ACL, ("loans_id_seq",)))


def test_nothing_is_granted_where_nothing_was_granted_on_users(at_start: Session) -> None:
    at_start.execute("CREATE TABLE loans (id serial PRIMARY KEY)")

    ownership.adopt_table(at_start, "loans")

    assert at_start.scalar(_ACL, ("loans",)) == ""
    assert at_start.scalar(_ACL, ("loans_id_seq",)) == ""


def test_without_users_there_is_nothing_to_learn_from(session: Session) -> None:
    session.execute("CREATE TABLE loans (id serial PRIMARY KEY)")

    ownership.adopt_table(session, "loans")
    ownership.adopt_table(session, "users")

    assert catalog.owner_of(session, "loans") == "opssight"
