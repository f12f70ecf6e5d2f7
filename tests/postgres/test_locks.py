"""The door to strong locks: nobody ever queues behind us, and who is in the way is named."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from tests.conftest import NewDatabase

from opssight_migrate.model.errors import InterruptedRunError, LockBudgetError, Touched
from opssight_migrate.model.events import Blocked, Event, LockAwaited, LockTaken
from opssight_migrate.postgres import locks
from opssight_migrate.postgres.locks import Door, Mode, Wanted, describe
from opssight_migrate.postgres.session import Session

_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = %s"


@pytest.fixture
def conninfo(new_database: NewDatabase) -> str:
    """A database with two tables."""
    conninfo = new_database()
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE shelf (id int); CREATE TABLE book (id int)")
    return conninfo


@pytest.fixture
def ours(conninfo: str, opened: Callable[[str], Session]) -> Session:
    """The session that wants the locks."""
    return opened(conninfo)


@pytest.fixture
def reader(conninfo: str) -> Iterator[psycopg.Connection]:
    """Somebody who holds ACCESS SHARE on shelf until they commit."""
    with psycopg.connect(conninfo, application_name="reporting") as connection:
        connection.execute("SELECT count(*) FROM shelf")
        yield connection


def add_column(session: Session) -> None:
    """Do something that only ACCESS EXCLUSIVE allows."""
    session.execute("ALTER TABLE shelf ADD COLUMN name text")


def test_work_is_done_under_its_locks_in_one_transaction(ours: Session) -> None:
    held: list[tuple[str, str]] = []

    def work() -> None:
        held.extend(
            ours.rows(
                "SELECT relation::regclass::text, mode FROM pg_locks WHERE locktype = 'relation'"
                " AND pid = pg_backend_pid() AND relation::regclass::text IN ('shelf', 'book')"
            )
        )

    Door(ours).through((Wanted("shelf"), Wanted("book", Mode.SHARE)), work)

    assert sorted(held) == [("book", "ShareLock"), ("shelf", "AccessExclusiveLock")]


def test_writers_of_a_table_in_another_schema_are_waited_for_and_its_readers_are_not(
    ours: Session, conninfo: str
) -> None:
    ours.execute("CREATE SCHEMA aside; ALTER TABLE shelf SET SCHEMA aside")
    events: list[Event] = []
    door = Door(ours, budget_s=0.2, emit=events.append)
    wanted = (Wanted("shelf", Mode.EXCLUSIVE, schema="aside"),)
    with psycopg.connect(conninfo) as other:
        other.execute("SELECT count(*) FROM aside.shelf")
        door.through(wanted, lambda: None)
        other.execute("INSERT INTO aside.shelf VALUES (1)")

        with pytest.raises(LockBudgetError, match=r"no EXCLUSIVE lock on aside\.shelf") as caught:
            door.through(wanted, lambda: None)

    assert caught.value.where == "aside.shelf"
    assert [(one.relation, one.mode) for one in events if isinstance(one, LockTaken)] == [
        ("aside.shelf", "EXCLUSIVE")
    ]


def test_we_wait_outside_the_queue_until_the_way_is_free(
    ours: Session, reader: psycopg.Connection, conninfo: str, opened: Callable[[str], Session]
) -> None:
    looker = opened(conninfo)
    waiting: list[int] = []

    def between_attempts() -> None:
        waiting.append(looker.scalar(_WAITING, (ours.pid,)))
        # Another reader gets through at once, as nobody stands in the queue.
        looker.scalar("SELECT count(*) FROM shelf")
        if len(waiting) == 4:
            reader.commit()

    Door(ours, pause_point=between_attempts).through((Wanted("shelf"),), lambda: add_column(ours))

    assert len(waiting) >= 4
    assert set(waiting) == {0}
    assert ours.scalar("SELECT count(name) FROM shelf") == 0


def test_a_spent_budget_names_the_blocker_and_leaves_nothing_done(
    ours: Session, reader: psycopg.Connection
) -> None:
    done: list[bool] = []

    with pytest.raises(LockBudgetError) as spent:
        Door(ours, budget_s=0.2).through((Wanted("shelf"),), lambda: done.append(True))

    pid = reader.info.backend_pid
    error = spent.value
    assert f"no ACCESS EXCLUSIVE lock on shelf within 0 s (lock_budget): pid {pid}" in error.message
    assert "application 'reporting'" in error.message
    assert "query 'SELECT count(*) FROM shelf'" in error.message
    assert f"pg_terminate_backend({pid})" in str(error.hint)
    assert error.where == "public.shelf"
    assert error.touched is Touched.RESUMABLE
    assert done == []


def test_a_long_wait_is_told_with_the_blocker(
    ours: Session, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "SAY_EVERY_S", 0.0)
    told: list[Event] = []

    def emit(event: Event) -> None:
        told.append(event)
        reader.commit()

    door = Door(ours, emit=emit, step_id="85f9e3f15142")
    door.through((Wanted("shelf"),), lambda: add_column(ours))

    first = told[0]
    assert isinstance(first, LockAwaited)
    assert (first.step_id, first.relation, first.mode) == (
        "85f9e3f15142",
        "shelf",
        "ACCESS EXCLUSIVE",
    )
    assert [blocker.pid for blocker in first.blockers] == [reader.info.backend_pid]


def test_a_lock_that_the_work_itself_cannot_get_rolls_back_and_is_tried_again(
    ours: Session, conninfo: str
) -> None:
    tries: list[int] = []
    with psycopg.connect(conninfo) as other:
        other.execute("LOCK TABLE book")

        def work() -> None:
            tries.append(len(tries))
            add_column(ours)
            ours.execute("ALTER TABLE book ADD COLUMN name text")

        def between_attempts() -> None:
            if len(tries) == 2:
                other.commit()

        Door(ours, pause_point=between_attempts).through((Wanted("shelf"),), work)

    assert tries == [0, 1, 2]
    assert ours.scalar("SELECT count(name) FROM book") == 0


def test_somebody_who_waits_for_the_table_counts_as_in_the_way(
    ours: Session, reader: psycopg.Connection, conninfo: str
) -> None:
    with psycopg.connect(conninfo, application_name="vacuum full") as waiter:
        pid = waiter.info.backend_pid
        thread = threading.Thread(target=waiter.execute, args=("LOCK TABLE shelf",))
        thread.start()
        until = time.monotonic() + 30
        while ours.scalar(_WAITING, (pid,)) == 0:
            assert time.monotonic() < until

        wanted = (Wanted("shelf", Mode.SHARE_UPDATE_EXCLUSIVE),)
        with pytest.raises(LockBudgetError, match=f"pid {pid}, "):
            Door(ours, budget_s=0.1).through(wanted, lambda: None)

        reader.commit()
        thread.join()


def test_a_request_to_stop_ends_the_waiting(ours: Session, reader: psycopg.Connection) -> None:
    def stop() -> None:
        raise InterruptedRunError("stop")

    with pytest.raises(InterruptedRunError):
        Door(ours, pause_point=stop).through((Wanted("shelf"),), lambda: add_column(ours))

    assert (
        ours.scalar(
            "SELECT count(*) FROM pg_attribute WHERE attname = 'name'"
            " AND attrelid = 'shelf'::regclass"
        )
        == 0
    )


def test_an_error_of_the_work_is_not_tried_again(ours: Session) -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        ours.execute("ALTER TABLE shelf ADD COLUMN id text")

    with pytest.raises(Exception, match="already exists"):
        Door(ours).through((Wanted("shelf"),), work)

    assert tries == [1]


def test_what_the_role_may_not_see_is_said_and_never_shown_as_zero() -> None:
    hidden = Blocked(pid=7, user="app", query="<insufficient privilege>", age_s=None)

    assert describe((hidden,)) == ("pid 7, user app (age and query not visible: GRANT pg_monitor)")
    assert describe((hidden, hidden)).endswith(", and 1 more")
    assert describe(()) == "nobody"
