"""Indexes built online: a broken one is built again, a foreign one is never replaced."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from opssight_migrate.model.errors import LockBudgetError, ShapeError
from opssight_migrate.postgres import catalog, indexes
from opssight_migrate.postgres.failures import UniqueError
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.session import Session

_OID = "SELECT to_regclass('ix_book_title')::oid::int8"
Ensure = Callable[..., None]


@pytest.fixture
def shelf(session: Session) -> Session:
    """A session on a database with a table of books, two of them of one title."""
    session.execute("""
        CREATE TABLE book (id serial PRIMARY KEY, title text);
        INSERT INTO book (title) VALUES ('Emma'), ('Emma'), ('Ulysses');
    """)
    return session


def ensure(session: Session, *, unique: bool = False, budget_s: float = 30.0) -> None:
    """Make ix_book_title exist, online."""
    create = indexes.statement("ix_book_title", "book", ("title",), unique=unique, online=True)
    indexes.ensure(session, Door(session, budget_s=budget_s), "ix_book_title", create, online=True)


def test_an_index_is_built_and_a_good_one_is_left_alone(shelf: Session) -> None:
    ensure(shelf)
    first = shelf.scalar(_OID)
    ensure(shelf)

    assert first is not None
    assert shelf.scalar(_OID) == first


def test_an_invalid_index_of_that_name_is_built_again(shelf: Session) -> None:
    ensure(shelf)
    first = shelf.scalar(_OID)
    shelf.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::oid", (first,))

    ensure(shelf)

    state = catalog.index_state(shelf, "ix_book_title")
    assert state is not None
    assert state.valid
    assert shelf.scalar(_OID) != first


def test_a_unique_index_over_duplicates_fails_and_heals_when_they_are_gone(shelf: Session) -> None:
    with pytest.raises(UniqueError) as refused:
        ensure(shelf, unique=True)
    state = catalog.index_state(shelf, "ix_book_title")
    shelf.execute("DELETE FROM book WHERE id = 2")
    ensure(shelf, unique=True)

    healed = catalog.index_state(shelf, "ix_book_title")
    assert state is not None
    assert not state.valid
    assert healed is not None
    assert (healed.valid, healed.unique) == (True, True)
    # The detail of the violation quotes the row, and rows hold secrets.
    assert "Emma" not in refused.value.message


@pytest.mark.parametrize(
    "other",
    [
        "CREATE INDEX ix_book_title ON book (id)",
        "CREATE UNIQUE INDEX ix_book_title ON book (title, id)",
        "CREATE INDEX ix_book_title ON book (title) WHERE id > 1",
        "CREATE INDEX ix_book_title ON book USING hash (title)",
    ],
)
def test_a_valid_index_of_another_definition_is_refused_and_stays(
    shelf: Session, other: str
) -> None:
    shelf.connection.execute(other.encode())
    before = shelf.scalar(_OID)

    with pytest.raises(ShapeError, match="ix_book_title is not as it should be"):
        ensure(shelf)

    assert shelf.scalar(_OID) == before


def test_an_older_transaction_that_outlasts_the_budget_is_named_and_the_next_try_heals(
    shelf: Session,
) -> None:
    conninfo = shelf.connection.info.dsn
    with psycopg.connect(conninfo, application_name="nightly report") as older:
        older.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        older.execute("SELECT count(*) FROM book")
        with pytest.raises(LockBudgetError) as spent:
            ensure(shelf, budget_s=0.2)
        left = catalog.index_state(shelf, "ix_book_title")
    timeout = shelf.scalar("SHOW lock_timeout")

    ensure(shelf)

    healed = catalog.index_state(shelf, "ix_book_title")
    assert "older transactions are still open" in spent.value.message
    assert left is not None
    assert not left.valid
    assert timeout == "0"
    assert healed is not None
    assert healed.valid


def test_the_halves_of_a_killed_reindex_go_with_the_broken_index(shelf: Session) -> None:
    ensure(shelf)
    shelf.execute("CREATE INDEX ix_book_title_ccnew1 ON book (title)")
    shelf.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'book'::regclass"
        " AND NOT indisprimary"
    )

    ensure(shelf)

    assert catalog.index_state(shelf, "ix_book_title_ccnew1") is None


def test_names_are_quoted_and_a_plain_build_is_not_concurrent(shelf: Session) -> None:
    text = indexes.statement('a"b', "book", ("title", "id"), unique=True, online=False)

    assert text.as_string(None) == 'CREATE UNIQUE INDEX "a""b" ON "book" ("title", "id")'
