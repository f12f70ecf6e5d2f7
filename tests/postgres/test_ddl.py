"""Online DDL: each piece can be done twice, and goes on from where a killed one stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql

from opssight_migrate.model.errors import RowsWouldBeLostError, ShapeError
from opssight_migrate.opssight import shims
from opssight_migrate.postgres import catalog, reader
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.new_table import NewTable
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.undoing import Undoing

_NEW = NewTable(
    "loans",
    """
CREATE TABLE loans (id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users);
CREATE INDEX ix_loans_user_id ON loans (user_id);
""",
)
_EMAIL = next(shim for shim in shims.ONCE_UNIQUE if (shim.table, shim.column) == ("users", "email"))


def twice(session: Session, piece: Callable[[Undoing], None]) -> Undoing:
    """Do a piece two times; the second leaves the catalogue as the first did."""
    ddl = Undoing(session, Door(session, budget_s=20))
    piece(ddl)
    once = reader.read_catalogue(session)
    piece(ddl)
    assert reader.read_catalogue(session) == once
    return ddl


def test_a_table_with_its_indexes_and_keys_is_made_once(populated: Session) -> None:
    twice(populated, lambda ddl: ddl.table(_NEW))

    key = catalog.constraint_state(populated, "loans", "loans_user_id_fkey")
    assert key is not None
    assert key.validated
    assert catalog.index_state(populated, "ix_loans_user_id") is not None


def test_a_column_with_a_constant_default_rewrites_nothing(populated: Session) -> None:
    before = catalog.filenode_of(populated, "users")
    definition = sql.SQL("integer NOT NULL DEFAULT 7")

    twice(
        populated,
        lambda ddl: ddl.column("users", "shelf", definition, then=sql.SQL("SET DEFAULT 8")),
    )

    state = catalog.column_state(populated, "users", "shelf")
    assert state is not None
    assert (state.not_null, state.default) == (True, "8")
    assert populated.rows("SELECT DISTINCT shelf FROM users") == [(7,)]
    assert catalog.filenode_of(populated, "users") == before


def test_null_is_forbidden_by_a_check_that_is_proven_first_and_dropped_afterwards(
    populated: Session,
) -> None:
    twice(populated, lambda ddl: ddl.not_null("users", "full_name"))

    state = catalog.column_state(populated, "users", "full_name")
    assert state is not None
    assert state.not_null
    assert catalog.constraint_state(populated, "users", "users_full_name_not_null") is None


def test_not_null_goes_on_from_a_check_that_was_not_validated(populated: Session) -> None:
    populated.execute(
        "ALTER TABLE users ADD CONSTRAINT users_full_name_not_null"
        " CHECK (full_name IS NOT NULL) NOT VALID"
    )

    Ddl(populated, Door(populated)).not_null("users", "full_name")

    state = catalog.column_state(populated, "users", "full_name")
    assert state is not None
    assert state.not_null
    assert catalog.constraint_state(populated, "users", "users_full_name_not_null") is None


def test_a_foreign_key_that_was_added_and_not_validated_is_validated(populated: Session) -> None:
    populated.execute("ALTER TABLE users ADD COLUMN team_id integer")
    populated.execute(
        "ALTER TABLE users ADD CONSTRAINT users_team_id_fkey FOREIGN KEY (team_id)"
        " REFERENCES teams (id) NOT VALID"
    )

    twice(populated, lambda ddl: ddl.foreign_key("users", "team_id", "teams"))

    state = catalog.constraint_state(populated, "users", "users_team_id_fkey")
    assert state is not None
    assert state.validated


def test_a_unique_constraint_adopts_an_index_that_is_there_already(populated: Session) -> None:
    populated.execute("CREATE UNIQUE INDEX one_slug ON teams (slug, id)")

    twice(populated, lambda ddl: ddl.unique_constraint("teams", "one_slug", ("slug", "id")))

    state = catalog.constraint_state(populated, "teams", "one_slug")
    assert state is not None
    assert state.kind == "u"


def test_an_enum_with_other_labels_is_refused(at_start: Session) -> None:
    ddl = twice(at_start, lambda ddl: ddl.enum("mood", ("GOOD", "BAD")))

    with pytest.raises(ShapeError, match="type mood has other labels: GOOD, BAD"):
        ddl.enum("mood", ("BAD", "GOOD"))

    twice(at_start, lambda ddl: ddl.drop_enum("mood"))
    assert catalog.enum_labels(at_start, "mood") is None


def test_a_table_with_rows_is_not_dropped(populated: Session) -> None:
    ddl = twice(populated, lambda ddl: ddl.table(_NEW))
    populated.execute("INSERT INTO loans (user_id) SELECT min(id) FROM users")

    with pytest.raises(RowsWouldBeLostError, match="loans: 1"):
        ddl.drop_table("loans")
    populated.execute("DELETE FROM loans")
    twice(populated, lambda ddl: ddl.drop_table("loans"))

    assert not catalog.relation_exists(populated, "loans")


def test_a_once_unique_index_goes_aside_and_comes_back(populated: Session) -> None:
    before = reader.read_catalogue(populated)
    unique = catalog.filenode_of(populated, "ix_users_email")

    ddl = twice(populated, lambda ddl: ddl.retire_unique(_EMAIL))
    aside = catalog.index_state(populated, "ix_users_email_once_unique")
    plain = catalog.index_state(populated, "ix_users_email")
    ddl.restore_unique(_EMAIL)

    assert aside is not None
    assert aside.unique
    assert plain is not None
    assert not plain.unique
    assert catalog.filenode_of(populated, "ix_users_email") == unique
    assert reader.read_catalogue(populated) == before


def test_columns_and_constraints_are_dropped_once(populated: Session) -> None:
    populated.execute("ALTER TABLE users ADD COLUMN team_id integer REFERENCES teams")

    twice(populated, lambda ddl: ddl.drop_constraint("users", "users_team_id_fkey"))
    twice(populated, lambda ddl: ddl.drop_column("users", "team_id"))

    assert catalog.column_state(populated, "users", "team_id") is None


def test_a_database_without_a_row_is_changed_whole_and_without_shims(at_start: Session) -> None:
    seen: list[tuple[bool, bool]] = []

    def work(ddl: Ddl) -> None:
        seen.append((ddl.whole, ddl.leaves_shims))
        ddl.retire_unique(_EMAIL)

    Ddl(at_start, Door(at_start)).expand(work)

    assert seen == [(True, False)]
    assert catalog.index_state(at_start, "ix_users_email_once_unique") is None
    state = catalog.index_state(at_start, "ix_users_email")
    assert state is not None
    assert not state.unique


def test_one_row_in_any_table_means_that_the_old_release_is_alive(at_start: Session) -> None:
    at_start.execute(
        "INSERT INTO permissions (name, display_name, category, is_active)"
        " VALUES ('VIEW_USERS', 'View', 'x', true)"
    )
    seen: list[bool] = []

    Ddl(at_start, Door(at_start)).expand(lambda ddl: seen.append(ddl.leaves_shims))

    assert seen == [True]


def test_a_first_row_that_arrives_between_look_and_lock_turns_the_work_online(
    at_start: Session, opened: Callable[[str], Session]
) -> None:
    application = opened(at_start.connection.info.dsn)
    seen: list[bool] = []

    def first_row() -> None:
        application.execute(
            "INSERT INTO users (github_id, github_username, is_active, is_superuser)"
            " VALUES ('1', 'first', true, false)"
        )

    Ddl(at_start, Door(at_start, pause_point=first_row)).expand(
        lambda ddl: seen.append(ddl.leaves_shims)
    )

    assert seen == [True]


def test_what_fails_inside_the_whole_leaves_nothing(at_start: Session) -> None:
    before = reader.read_catalogue(at_start)

    def work(ddl: Ddl) -> None:
        ddl.table(_NEW)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        Ddl(at_start, Door(at_start)).expand(work)

    assert reader.read_catalogue(at_start) == before
