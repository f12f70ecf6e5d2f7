"""What a role lacks to put one database in another's place is named, with its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from psycopg import sql
from tests.conftest import NewDatabase

from opssight_migrate.postgres import swap
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def session(new_database: NewDatabase, opened: Callable[[str], Session]) -> Iterator[Session]:
    """A session that acts as a role which owns nothing; it comes back to itself at the end."""
    made = opened(new_database())
    role = sql.Identifier(f"plain_{uuid4().hex[:8]}")
    made.execute("CREATE EXTENSION file_fdw; CREATE EXTENSION pg_trgm")
    made.execute(sql.SQL("CREATE ROLE {}").format(role))
    made.execute(sql.SQL("SET ROLE {}").format(role))
    yield made
    made.execute("RESET ROLE")
    made.execute(sql.SQL("DROP ROLE {}").format(role))


def test_each_missing_right_comes_with_the_grant_that_gives_it(session: Session) -> None:
    role = session.scalar("SELECT current_user::text")
    grants = [one.grant for one in swap.lacking(session)]

    assert grants[0] == f'ALTER ROLE "{role}" CREATEDB'
    assert grants[1] == f'GRANT "opssight" TO "{role}"'
    assert swap.extensions_of_superusers(session) == ["file_fdw"]
    session.execute("RESET ROLE")
    assert list(swap.lacking(session)) == []
    assert swap.extensions_of_superusers(session) == []


def test_a_name_is_taken_or_not(session: Session) -> None:
    assert swap.exists(session, "postgres")
    assert not swap.exists(session, "nowhere")
