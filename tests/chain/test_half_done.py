"""Killed anywhere, the chain goes on from there: SQLite's loop, the Nth statement fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.chain.looks import (
    BEFORE,
    IDS,
    catalogue_of,
    catalogue_text,
    golden_text,
    shims_up_to,
    versions,
    without_shims,
)
from tests.conftest import DatabaseAt, NewDatabase
from tests.least import as_superuser

from opssight_migrate.opssight import shims
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, RBAC, START, TARGET
from opssight_migrate.postgres import catalog, chain
from opssight_migrate.postgres.session import Params, Query, Row, Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_CHANGES = ("ALTER", "CREATE", "DROP", "GRANT", "INSERT")
_ONE_ROLE = """
INSERT INTO roles (name, display_name, is_active, is_default, priority)
VALUES ('VIEWER', 'Viewer', true, true, 20)
"""
_BREAK = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)"
_AT_MOST = 200


class PullThePlugError(Exception):
    """Where the run dies; nothing catches it."""


class Dying(Session):
    """A session that dies at its ``at``-th change, before it is sent or after it was done."""

    def __init__(self, connection: psycopg.Connection[Row], at: int, *, after: bool) -> None:
        super().__init__(connection)
        self.at = at
        self.after = after
        self.changes = 0

    def execute(self, query: Query, params: Params = None) -> int:
        """Run a statement, or die."""
        with self._dying(query):
            return super().execute(query, params)

    def rows(self, query: Query, params: Params = None) -> list[Row]:
        """Run a query, or die."""
        with self._dying(query):
            return super().rows(query, params)

    def row(self, query: Query, params: Params = None) -> Row | None:
        """Run a query, or die; ``scalar`` asks here as well."""
        with self._dying(query):
            return super().row(query, params)

    @contextmanager
    def _dying(self, query: Query) -> Iterator[None]:
        text = query if isinstance(query, str) else query.as_string(self.connection)
        counts = text.lstrip().startswith(_CHANGES)
        self.changes += counts
        if counts and self.changes == self.at and not self.after:
            raise PullThePlugError(text)
        yield
        if counts and self.changes == self.at and self.after:
            raise PullThePlugError(text)


class Stepping(Session):
    """A session that dies as soon as one piece of work is committed."""

    def execute(self, query: Query, params: Params = None) -> int:
        """Run a statement, and die if it committed a change by itself."""
        done = super().execute(query, params)
        self._die_after(query)
        return done

    def row(self, query: Query, params: Params = None) -> Row | None:
        """Run a query, and die if it committed a change by itself."""
        found = super().row(query, params)
        self._die_after(query)
        return found

    @contextmanager
    def writing(self, *, one_snapshot: bool = False) -> Iterator[None]:
        """Hold one transaction, and die when it is committed."""
        with super().writing(one_snapshot=one_snapshot):
            yield
        raise PullThePlugError("committed")

    def _die_after(self, query: Query) -> None:
        text = query if isinstance(query, str) else query.as_string(self.connection)
        idle = self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if idle and text.lstrip().startswith(_CHANGES):
            raise PullThePlugError(text)


def _up(revision: str) -> Callable[[chain.Drive], None]:
    return lambda drive: chain.upgrade(drive, revision)


def _down(revision: str) -> Callable[[chain.Drive], None]:
    return lambda drive: chain.downgrade(drive, revision)


def _pieces(session: Session, go: Callable[[chain.Drive], None]) -> int:
    """Run again and again, each time one committed piece further; return how many there were."""
    stepping = Stepping(session.connection)
    for deaths in range(_AT_MOST):
        try:
            go(chain.Drive(session=stepping))
        except PullThePlugError:
            assert not session.connection.closed
        else:
            return deaths
    raise AssertionError(f"not done after {_AT_MOST} pieces: some piece is done anew each time")


@pytest.mark.parametrize("revision", IDS[1:])
def test_an_upgrade_goes_on_from_every_committed_piece(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
) -> None:
    conninfo = database_at(BEFORE[revision])
    session = opened(conninfo)

    deaths = _pieces(session, _up(revision))

    assert deaths >= {MULTI_TENANCY: 38, RBAC: 15, "e988b93edd68": 1}.get(revision, 4)
    assert catalog.current_revision(session) == revision
    assert without_shims(session) == (golden_text(revision), shims_up_to(revision))


@pytest.mark.parametrize("revision", IDS)
def test_a_downgrade_goes_on_from_every_committed_piece(
    database_at: DatabaseAt, opened: Callable[[str], Session], revision: str
) -> None:
    session = opened(database_at(revision, filled=False))
    below = BEFORE.get(revision, "base")

    assert _pieces(session, _down(below)) >= 1

    if revision == START:
        left = catalogue_of(session)
        assert (left["tables"], left["enums"]) == ({}, {})
    else:
        assert catalogue_text(session) == golden_text(below)
    chain.upgrade(chain.Drive(session=session), revision)
    assert catalogue_text(session) == golden_text(revision)


def test_a_downgrade_beside_shims_goes_on_from_every_committed_piece(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
) -> None:
    conninfo = database_at(RBAC)
    session = opened(conninfo)

    assert _pieces(session, _down(MULTI_TENANCY)) >= 10
    assert without_shims(session) == (golden_text(MULTI_TENANCY), shims_up_to(MULTI_TENANCY))


def test_the_tenant_shims_are_taken_back_from_every_committed_piece(at_start: Session) -> None:
    at_start.execute(_ONE_ROLE)
    chain.upgrade(chain.Drive(session=at_start), MULTI_TENANCY)
    at_start.execute("DELETE FROM organizations")

    assert _pieces(at_start, _down(START)) >= 20
    assert catalogue_text(at_start) == golden_text(START)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_walking_through_growing_numbers_of_statements_ends_in_the_same_catalogue(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    after: bool,
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)

    for at in range(1, _AT_MOST):
        try:
            chain.upgrade(chain.Drive(session=Dying(session.connection, at, after=after)), HEAD)
        except PullThePlugError:
            continue
        break

    assert at > 10
    assert without_shims(session) == (golden_text(HEAD), shims_up_to(HEAD))


@pytest.mark.parametrize(
    ("revision", "at"),
    [(MULTI_TENANCY, at) for at in (1, 2, 3, 4, 5, 23, 24, 25, 40)]
    + [(RBAC, at) for at in (1, 2, 3, 6, 9, 20)]
    + [("b521a10e8182", 3), (TARGET, 2), (HEAD, 2)],
)
def test_a_copy_that_died_at_one_statement_ends_like_one_that_did_not(
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
    at: int,
) -> None:
    conninfo = database_at(BEFORE[revision])
    session = opened(conninfo)
    with pytest.raises(PullThePlugError):
        chain.upgrade(
            chain.Drive(session=Dying(session.connection, at, after=bool(at % 2))), revision
        )
    assert catalog.current_revision(session) == BEFORE[revision]

    chain.upgrade(chain.Drive(session=session), revision)

    assert without_shims(session) == (golden_text(revision), shims_up_to(revision))


@pytest.mark.parametrize("revision", IDS)
@pytest.mark.parametrize("at", [1, 2])
def test_on_an_empty_database_a_revision_happens_wholly_or_not_at_all(
    new_database: NewDatabase,
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    revision: str,
    at: int,
) -> None:
    below = BEFORE.get(revision)
    session = opened(new_database() if below is None else database_at(below, filled=False))
    before = catalogue_text(session)

    with pytest.raises(PullThePlugError):
        chain.upgrade(chain.Drive(session=Dying(session.connection, at, after=at == 1)), revision)
    assert catalogue_text(session) == before

    chain.upgrade(chain.Drive(session=session), revision)
    assert catalogue_text(session) == golden_text(revision)


@pytest.mark.parametrize("revision", IDS[1:])
@pytest.mark.parametrize("filled", [True, False], ids=["populated", "empty"])
def test_a_run_that_dies_before_the_stamp_is_stamped_by_the_next_one(
    database_at: DatabaseAt, opened: Callable[[str], Session], revision: str, filled: bool
) -> None:
    session = opened(database_at(BEFORE[revision], filled))

    def die(stamped: str) -> None:
        raise PullThePlugError(stamped)

    with pytest.raises(PullThePlugError):
        chain.upgrade(chain.Drive(session=session, on_stamp=die), revision)
    assert catalog.current_revision(session) == BEFORE[revision]
    done, rows = catalogue_text(session), versions(session)
    rows.pop("alembic_version")

    chain.upgrade(chain.Drive(session=session), revision)

    assert catalog.current_revision(session) == revision
    again = versions(session)
    again.pop("alembic_version")
    assert again == rows
    assert catalogue_text(session).split("\n", 2)[2] == done.split("\n", 2)[2]


@pytest.mark.parametrize(
    "name",
    [
        "ix_users_organization_id",
        "ix_users_email_twin",
        "ix_teams_name_twin",
    ],
)
def test_a_half_built_index_is_built_again_on_the_way_up(
    database_at: DatabaseAt, opened: Callable[[str], Session], name: str
) -> None:
    session = opened(database_at(START))
    _stop_before(session, name, _up(MULTI_TENANCY))
    opened(as_superuser(session.connection.info.dsn)).execute(_BREAK, (name,))

    chain.upgrade(chain.Drive(session=session), MULTI_TENANCY)

    indexes = [name.removesuffix("_twin"), name] if name.endswith("_twin") else [name]
    state = catalog.index_state(session, indexes[0])
    assert state is not None
    assert state.valid
    assert not state.unique
    assert indexes[1:] == [] or catalog.index_state(session, name) is None


def test_a_half_built_unique_index_is_built_again_on_the_way_down(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(MULTI_TENANCY, filled=False))
    shim = next(shim for shim in shims.ONCE_UNIQUE if shim.golden_index == "ix_users_email")
    _stop_before(session, shim.index, _down(START))
    opened(as_superuser(session.connection.info.dsn)).execute(_BREAK, (shim.index,))

    chain.downgrade(chain.Drive(session=session), START)

    assert catalogue_text(session) == golden_text(START)


def test_a_half_built_index_of_a_unique_constraint_is_built_again(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(MULTI_TENANCY))
    _stop_before(session, "_role_name_org_uc", _up(RBAC))
    opened(as_superuser(session.connection.info.dsn)).execute(_BREAK, ("_role_name_org_uc",))

    chain.upgrade(chain.Drive(session=session), RBAC)

    state = catalog.index_state(session, "_role_name_org_uc")
    assert state is not None
    assert state.valid
    constraint = catalog.constraint_state(session, "roles", "_role_name_org_uc")
    assert constraint is not None


def _stop_before(session: Session, name: str, go: Callable[[chain.Drive], None]) -> None:
    """Go as far as the index ``name`` and die when it stands."""
    stepping = Stepping(session.connection)
    for _ in range(_AT_MOST):
        with pytest.raises(PullThePlugError):
            go(chain.Drive(session=stepping))
        if catalog.index_state(session, name) is not None:
            return
    raise AssertionError(f"{name} never stood")
