"""Owners, grants and comments of one database made those of another, as far as a role may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import LiteralString

import pytest
from tests.conftest import NewDatabase

from opssight_migrate.model.errors import PrivilegeError
from opssight_migrate.postgres import attributes, large_objects
from opssight_migrate.postgres.session import Session

_BOTH: tuple[LiteralString, ...] = (
    "CREATE TABLE books (id int PRIMARY KEY, title text)",
    "CREATE TABLE loans (id int, book int CONSTRAINT loan_of REFERENCES books)",
    "CREATE TYPE state AS ENUM ('lent', 'back')",
    "CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1",
)
_WANTED: tuple[LiteralString, ...] = (
    "ALTER TABLE books OWNER TO keeper",
    "GRANT SELECT (title) ON books TO PUBLIC",
    "GRANT INSERT ON loans TO keeper WITH GRANT OPTION",
    "REVOKE ALL ON FUNCTION one() FROM PUBLIC",
    "COMMENT ON COLUMN books.title IS 'it''s 100 % \"quoted\"'",
    "COMMENT ON CONSTRAINT loan_of ON loans IS 'of a book'",
    "COMMENT ON TYPE state IS 'where it is'",
)
_LIVE: tuple[LiteralString, ...] = (
    "GRANT INSERT, DELETE ON loans TO keeper",
    "COMMENT ON TABLE loans IS 'to be taken away'",
    "CREATE TABLE only_here (id int)",
    "COMMENT ON TABLE only_here IS 'stays'",
)


@pytest.fixture
def pair(
    new_database: NewDatabase, opened: Callable[[str], Session]
) -> Iterator[tuple[Session, Session]]:
    """Two databases of the same objects, unlike in whom they belong to and what is said of them."""
    live, wanted = opened(new_database()), opened(new_database())
    live.execute("CREATE ROLE keeper")
    live.execute("CREATE ROLE guest")
    for session, more in ((live, _LIVE), (wanted, _WANTED)):
        for statement in (*_BOTH, *more):
            session.execute(statement)
    yield live, wanted
    for session in (live, wanted):
        session.execute("RESET ROLE")
        session.execute("DROP OWNED BY keeper, guest CASCADE")
    live.execute("DROP ROLE keeper, guest")


def test_what_differs_is_made_alike_and_what_only_one_has_is_left(
    pair: tuple[Session, Session],
) -> None:
    live, wanted = pair

    with live.writing():
        for kind in attributes.KINDS:
            for change in attributes.changes(live, wanted, kind):
                assert change.is_ours
                attributes.carry_out(live, change)

    for kind in attributes.KINDS:
        assert attributes.changes(live, wanted, kind) == []
        assert attributes.changes(wanted, live, kind) == []
    assert live.scalar("SELECT obj_description('only_here'::regclass)") == "stays"


def test_what_a_role_may_not_do_is_told_from_what_it_may(pair: tuple[Session, Session]) -> None:
    live, wanted = pair
    for session in pair:
        session.execute("ALTER TABLE loans OWNER TO guest")
    live.execute("SET ROLE guest")

    owners, grants = (attributes.changes(live, wanted, kind) for kind in ("owner", "grant"))

    [other] = owners
    assert (other.what, other.is_ours) == ("TABLE public.books", False)
    # Whoever owns books has rights of his own there: the grants of another owner are none of his.
    assert {one.what: one.is_ours for one in grants} == {
        "TABLE public.loans": True,
        "ROUTINE public.one()": False,
    }
    with pytest.raises(PrivilegeError):
        attributes.carry_out(live, other)


def test_large_objects_are_made_alike_piece_by_piece(pair: tuple[Session, Session]) -> None:
    live, wanted = pair
    big = "SELECT lo_from_bytea(%s, decode(repeat(%s, 1 << 20), 'hex'))"
    for session, oid, byte in ((live, 7001, "aabb"), (wanted, 7001, "aa"), (live, 7002, "cc")):
        session.execute(big, (oid, byte))
    wanted.execute("SELECT lo_create(7003)")
    for session in (live, wanted):
        session.execute(big, (7004, "dd"))

    assert large_objects.differing(live, wanted) == 3
    assert large_objects.replace(live, wanted) == 3
    assert large_objects.differing(live, wanted) == 0
    everything = "SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1"
    assert live.rows(everything) == wanted.rows(everything)
    live.execute("SET ROLE guest")
    owner = live.scalar("SELECT session_user::text")
    assert large_objects.of_others(live) == dict.fromkeys((7001, 7003, 7004), owner)
