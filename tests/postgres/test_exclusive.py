"""One run at a time: the lock lives and dies with its connection."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from tests.conftest import NewDatabase

from opssight_migrate.model.errors import BusyError, ExitCode
from opssight_migrate.postgres import exclusive
from opssight_migrate.postgres.session import Session

_ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"


@pytest.fixture
def two(new_database: NewDatabase, opened: Callable[[str], Session]) -> tuple[Session, Session]:
    """Two sessions on one database."""
    conninfo = new_database()
    return opened(conninfo), opened(conninfo)


def test_the_second_one_is_told_who_holds_the_database(two: tuple[Session, Session]) -> None:
    first, second = two
    first.named("opssight-migrate/m0/85f9e3f15142")
    exclusive.take(first)

    with pytest.raises(BusyError) as busy:
        exclusive.take(second, patience_s=0)

    assert f"backend pid {first.pid}, user opssight" in busy.value.message
    assert "'opssight-migrate/m0/85f9e3f15142'" in busy.value.message
    assert busy.value.exit_code is ExitCode.BUSY
    assert exclusive.is_held(first)
    assert not exclusive.is_held(second)


def test_the_lock_ends_with_its_connection(two: tuple[Session, Session]) -> None:
    first, second = two
    exclusive.take(first)
    first.close()

    exclusive.take(second, patience_s=30)

    assert exclusive.is_held(second)


def test_a_request_never_waits_in_the_servers_queue(two: tuple[Session, Session]) -> None:
    first, second = two
    exclusive.take(first)

    with pytest.raises(BusyError):
        exclusive.take(second, patience_s=0.25)

    assert first.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0


def test_databases_of_one_server_do_not_shut_each_other_out(
    new_database: NewDatabase, opened: Callable[[str], Session]
) -> None:
    sessions = [opened(new_database()), opened(new_database())]

    for session in sessions:
        exclusive.take(session, patience_s=0)

    assert all(exclusive.is_held(session) for session in sessions)


def test_whoever_meets_another_database_of_that_name_is_shut_out_too(
    new_database: NewDatabase, opened: Callable[[str], Session]
) -> None:
    conninfo = new_database()
    first = opened(conninfo)
    name = first.connection.info.dbname
    exclusive.take(first)
    outside = opened(psycopg.conninfo.make_conninfo(conninfo, dbname="postgres"))
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 23327"
    assert first.companion is not None
    assert outside.scalar(f"{held} AND pid = %s", (first.companion.pid,)) == 1

    # As after a swap: another database has the name, and its own lock is free.
    first.close()
    holder = opened(psycopg.conninfo.make_conninfo(conninfo, dbname="postgres"))
    holder.scalar("SELECT pg_advisory_lock(23327, hashtext(%s))", (name,))
    with pytest.raises(BusyError, match=f"backend pid {holder.pid}"):
        exclusive.take(opened(conninfo), patience_s=0)


def test_the_backends_of_a_killed_run_are_ended_and_no_others(
    two: tuple[Session, Session],
) -> None:
    ours, other = two
    conninfo = ours.connection.info.dsn
    ours.named("opssight-migrate/m2/x")
    other.named("reporting")
    with psycopg.connect(conninfo, application_name="opssight-migrate/m1/assign-roles") as orphan:
        orphan.execute("SELECT 1")
        ended = exclusive.end_orphans(ours)
        left = other.scalar(_ALIVE, (orphan.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            orphan.execute("SELECT 1")

    assert (ended, left) == (1, 0)
    assert exclusive.end_orphans(ours) == 0
    assert other.scalar("SELECT 1") == 1
