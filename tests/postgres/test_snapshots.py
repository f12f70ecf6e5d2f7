"""Digests kept before a run: the first of a lineage counts, and others' writes are seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import psycopg
import pytest

from opssight_migrate.model.errors import StatementError
from opssight_migrate.postgres import connect, journal, marker, snapshots
from opssight_migrate.postgres.journal import Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.snapshots import Snapshot

FACTS = RunFacts(
    command="migrate",
    environment="test",
    tool_version="0",
    server_version="0",
    settings_digest="0",
    plan_digest="0",
    revision_from=None,
    revision_to="80bd6a3c3fa1",
)
USERS = Snapshot(table="users", columns=("id", "e mail"), rows=3, digest="-12", writes=7)
TEAMS = Snapshot(table="teams", columns=("id",), rows=0, digest="0", writes=0)


@pytest.fixture
def kept(session: Session) -> Session:
    """A session on an empty database with a journal."""
    journal.install(session)
    marker.mark(session, "test", connect.facts(session), adopt=False)
    return session


def test_a_run_finds_what_it_kept(kept: Session) -> None:
    book = Journal.begin(kept, FACTS)
    snapshots.keep(kept, book.run_id, [USERS, TEAMS])

    found = (replace(one, run_id=book.run_id) for one in (TEAMS, USERS))
    assert snapshots.first_of(kept, book.lineage) == tuple(found)


def test_a_run_that_goes_on_compares_with_what_was_before_the_killed_one(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    snapshots.keep(kept, first.run_id, [USERS])
    second = Journal.begin(kept, FACTS)
    snapshots.keep(kept, second.run_id, [TEAMS])
    third = Journal.begin(kept, FACTS)

    assert snapshots.first_of(kept, third.lineage) == (replace(USERS, run_id=first.run_id),)


def test_a_lineage_without_a_snapshot_has_none(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    snapshots.keep(kept, first.run_id, [USERS])
    first.end("ok")

    assert snapshots.first_of(kept, Journal.begin(kept, FACTS).lineage) == ()


def test_a_snapshot_is_kept_whole_or_not_at_all(kept: Session) -> None:
    book = Journal.begin(kept, FACTS)

    with pytest.raises(Exception, match="duplicate key"):
        snapshots.keep(kept, book.run_id, [TEAMS, USERS, USERS])

    assert snapshots.first_of(kept, book.lineage) == ()


def test_what_we_write_is_counted_once_and_what_was_rolled_back_as_the_server_does(
    kept: Session,
) -> None:
    book = Journal.begin(kept, FACTS)
    snapshots.keep(kept, book.run_id, [USERS, TEAMS])
    kept.execute("CREATE TABLE users (id int)")
    kept.accounting = partial(snapshots.counting_ours, kept, book.run_id)

    with kept.writing():
        kept.execute("INSERT INTO users SELECT generate_series(1, 3)")
        with kept.writing():
            kept.execute("DELETE FROM users WHERE id = 1")
    with suppress(ZeroDivisionError), kept.writing():
        kept.execute("DELETE FROM users")
        raise ZeroDivisionError
    with suppress(StatementError), kept.writing():
        kept.execute("UPDATE users SET id = id")
        kept.execute("UPDATE users SET id = id / 0")
    for _ in range(3):  # quicker than the backend reports what it wrote
        with kept.writing():
            kept.execute("UPDATE users SET id = id")

    ours = snapshots.writes_by_us(kept, book.run_id)
    assert ours == {"users": 4 + 2 + 2 + 3 * 2, "teams": 0}
    assert kept.scalar("SELECT count(*) FROM users") == 2
    until = time.monotonic() + 30
    while snapshots.writes_by_table(kept).get("users") != ours["users"]:
        assert time.monotonic() < until


def test_what_others_write_is_counted_and_what_they_read_is_not(
    populated: Session, opened: Callable[[str], Session]
) -> None:
    before = snapshots.writes_by_table(populated)
    with psycopg.connect(populated.connection.info.dsn) as other:
        other.execute("SELECT count(*) FROM teams")
        other.execute("UPDATE users SET bio = 'changed' WHERE id = 1007")
    until = time.monotonic() + 30
    while (after := snapshots.writes_by_table(populated)) == before:
        assert time.monotonic() < until

    assert after == before | {"users": before["users"] + 1}
