"""How a catalogue stands to the golden one: shims and half-done revisions are our own doing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg import sql
from tests.conftest import DatabaseAt

from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY, RBAC, REVISIONS, START
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import catalog, reader, standing
from opssight_migrate.postgres.session import Session

Opened = Callable[[str], Session]


def refused(session: Session) -> list[str]:
    """Return the objects that a run would refuse to begin with."""
    current = catalog.current_revision(session)
    actual = reader.read_catalogue(session)
    return [difference.where for difference in standing.refused(session, current, actual)]


@pytest.mark.parametrize("revision", [revision.id for revision in REVISIONS])
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_what_the_chain_made_is_never_refused_and_has_nothing_additional(
    database_at: DatabaseAt, opened: Opened, revision: str, filled: bool
) -> None:
    session = opened(database_at(revision, filled))
    actual = reader.read_catalogue(session)

    assert standing.refused(session, revision, actual) == []
    assert standing.altered(session, revision, actual) == []
    assert standing.additional(revision, actual) == ()


def test_a_revision_that_was_done_and_not_stamped_is_not_refused(
    database_at: DatabaseAt, opened: Opened
) -> None:
    session = opened(database_at(RBAC))
    session.execute("UPDATE alembic_version SET version_num = %s", (MULTI_TENANCY,))

    assert refused(session) == []
    assert standing.additional(MULTI_TENANCY, reader.read_catalogue(session)) == ()


def test_a_revision_that_was_done_whole_and_not_stamped_is_not_refused(
    database_at: DatabaseAt, opened: Opened
) -> None:
    session = opened(database_at(MULTI_TENANCY, filled=False))
    session.execute("UPDATE alembic_version SET version_num = %s", (START,))

    assert refused(session) == []


def test_a_once_unique_index_that_somebody_made_plain_is_refused(populated: Session) -> None:
    populated.execute("DROP INDEX ix_users_email; CREATE INDEX ix_users_email ON users (email)")

    assert refused(populated) == ["users.ix_users_email"]


def test_what_is_neither_as_it_was_nor_as_it_will_be_is_refused(populated: Session) -> None:
    populated.execute("DROP INDEX ix_users_email; ALTER TABLE roles ALTER priority DROP NOT NULL")

    assert sorted(refused(populated)) == ["roles.priority", "users.ix_users_email"]


def test_a_nullable_organization_is_accepted_at_the_start_and_not_at_the_end(
    database_at: DatabaseAt, opened: Opened
) -> None:
    session = opened(database_at(AUDIT))
    for table in TENANT_TABLES:
        session.execute(
            sql.SQL("ALTER TABLE {} ALTER organization_id DROP NOT NULL").format(
                sql.Identifier(table)
            )
        )
    actual = reader.read_catalogue(session)

    assert refused(session) == []
    assert sorted(d.where for d in standing.altered(session, AUDIT, actual)) == [
        f"{table}.organization_id" for table in TENANT_TABLES
    ]


def test_the_shims_that_stand_are_named_and_forgotten_when_they_are_gone(
    database_at: DatabaseAt, opened: Opened
) -> None:
    session = opened(database_at(AUDIT))
    all_of_them = standing.shims_standing(reader.read_catalogue(session))
    session.execute("DROP INDEX ix_users_email_once_unique")
    session.execute("ALTER TABLE teams ALTER organization_id DROP DEFAULT")

    left = standing.shims_standing(reader.read_catalogue(session))

    assert len(all_of_them) == 18
    assert set(all_of_them) - set(left) == {
        "unique index ix_users_email_once_unique",
        "default of teams.organization_id",
    }


def test_a_database_that_never_had_a_row_has_no_shims(
    database_at: DatabaseAt, opened: Opened
) -> None:
    session = opened(database_at(AUDIT, False))

    assert standing.shims_standing(reader.read_catalogue(session)) == ()


def test_nothing_is_refused_before_the_first_stamp(session: Session) -> None:
    assert standing.refused(session, None, reader.read_catalogue(session)) == []
    assert standing.additional(None, reader.read_catalogue(session)) == ()


def test_an_additional_object_is_named_with_its_table(at_start: Session) -> None:
    at_start.execute("CREATE TABLE notes (id int); CREATE INDEX by_name ON users (full_name)")

    names = standing.additional(START, reader.read_catalogue(at_start))

    assert set(names) == {"index users.by_name", "table notes"}
