"""Who waits for us is seen and let go; whom we wait for is named, or ended where that was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from tests.conftest import NewDatabase

from opssight_migrate.model.errors import LockBudgetError
from opssight_migrate.model.events import Event, LockAwaited, LockTaken, Noted
from opssight_migrate.postgres import build_waits, indexes, sleepers
from opssight_migrate.postgres.locks import Door, Wanted
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]
_INDEX = "ix_book_title"


@pytest.fixture
def conninfo(new_database: NewDatabase) -> str:
    """A database with a table."""
    conninfo = new_database()
    with psycopg.connect(conninfo) as connection:
        connection.execute("CREATE TABLE book (id int, title text)")
    return conninfo


@pytest.fixture
def observer(conninfo: str, opened: Opened) -> Iterator[Observer]:
    """An observer with a connection of its own."""
    looking = Observer(lambda: opened(conninfo))
    yield looking
    looking.close()
    assert looking.blind_because is None


@contextmanager
def asleep(conninfo: str, query: str) -> Iterator[psycopg.Connection]:
    """Keep a transaction open that ran ``query`` and does nothing more."""
    connection = psycopg.connect(conninfo, application_name="nightly", autocommit=True)
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute(query.encode())
        yield connection
    finally:
        connection.close()


def build(door: Door) -> None:
    """Build an index online."""
    create = indexes.statement(_INDEX, "book", ("title",), unique=False, online=True)
    indexes.ensure(door.session, door, _INDEX, create, online=True)


def test_whoever_waits_longer_than_the_stall_budget_is_let_go_and_we_begin_again(
    conninfo: str, opened: Opened, observer: Observer
) -> None:
    ours, told, tries = opened(conninfo), list[Event](), list[float]()
    stalled: list[float] = []

    def read() -> None:
        with psycopg.connect(conninfo, autocommit=True) as reader:
            began = time.monotonic()
            reader.execute("SELECT count(*) FROM book")
            stalled.append(time.monotonic() - began)

    def work() -> None:
        tries.append(time.monotonic())
        ours.execute("ALTER TABLE book ADD COLUMN pages int")
        if len(tries) == 1:
            threading.Thread(target=read).start()
            ours.execute("SELECT pg_sleep(20)")

    door = Door(ours, emit=told.append, observer=observer, stall_budget_s=0.1)
    door.through((Wanted("book"),), work)

    assert len(tries) == 2
    while not stalled:
        time.sleep(0.01)
    assert stalled[0] < 5
    assert ours.scalar("SELECT count(pages) FROM book") == 0
    (note,) = [event for event in told if isinstance(event, Noted)]
    assert note.message.startswith("gave way on book: pid ")
    assert "(stall_budget 100 ms); trying again" in note.message
    assert [event.victims for event in told if isinstance(event, LockTaken)] == [()]


def test_a_budget_that_was_spent_on_giving_way_says_so(
    conninfo: str, opened: Opened, observer: Observer
) -> None:
    ours = opened(conninfo)
    over = threading.Event()

    def read() -> None:
        with psycopg.connect(conninfo, autocommit=True) as reader:
            while not over.is_set():
                reader.execute("SELECT count(*) FROM book")

    def work() -> None:
        ours.execute("ALTER TABLE book ADD COLUMN pages int")
        ours.execute("SELECT pg_sleep(20)")

    reading = threading.Thread(target=read)
    reading.start()
    try:
        with pytest.raises(LockBudgetError, match=r"gave way \d+ times to sessions that waited"):
            Door(ours, observer=observer, stall_budget_s=0.1, budget_s=0.5).through(
                (Wanted("book"),), work
            )
    finally:
        over.set()
        reading.join()
    assert ours.scalar("SELECT count(*) FROM book") == 0


def test_an_error_of_the_work_is_no_giving_way(
    conninfo: str, opened: Opened, observer: Observer
) -> None:
    ours = opened(conninfo)

    def work() -> None:
        ours.execute("SET LOCAL statement_timeout = '50ms'")
        ours.execute("SELECT pg_sleep(20)")

    with pytest.raises(Exception, match="statement timeout"):
        Door(ours, observer=observer).through((Wanted("book"),), work)


def test_a_build_says_within_two_seconds_whom_it_waits_for(
    conninfo: str, opened: Opened, observer: Observer
) -> None:
    told: list[LockAwaited] = []
    with asleep(conninfo, "SELECT count(*) FROM book") as other:

        def end_when_named(event: Event) -> None:
            if isinstance(event, LockAwaited):
                told.append(event)
                other.execute("ROLLBACK")

        door = Door(opened(conninfo), emit=end_when_named, observer=observer, step_id="85f9")
        build(door)
        pid = other.info.backend_pid

    first = told[0]
    assert (first.step_id, first.relation, first.mode) == ("85f9", _INDEX, build_waits.MODE)
    assert first.waited_s < 2.5
    (blocker,) = first.blockers
    assert (blocker.pid, blocker.application) == (pid, "nightly")
    assert blocker.query == "SELECT count(*) FROM book"
    assert blocker.age_s is not None


@pytest.mark.parametrize("of_build", [False, True])
def test_a_blocker_that_only_sleeps_is_ended_where_that_was_asked_for(
    conninfo: str,
    opened: Opened,
    observer: Observer,
    monkeypatch: pytest.MonkeyPatch,
    of_build: bool,
) -> None:
    monkeypatch.setattr(sleepers, "ASLEEP_S", 0.2)
    ours, told = opened(conninfo), list[Event]()
    with asleep(conninfo, "SELECT count(*) FROM book") as other:
        door = Door(ours, emit=told.append, observer=observer, ends_sleepers=True, budget_s=30)
        pid = other.info.backend_pid
        if of_build:
            build(door)
        else:
            door.through((Wanted("book"),), lambda: None)

        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
        (ended,) = [event for event in told if isinstance(event, Noted)]
        assert ended.severity == "warning"
        assert f"ended pid {pid}, user opssight" in ended.message
        assert "'nightly'" in ended.message


def test_a_blocker_at_work_is_never_ended(
    conninfo: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sleepers, "ASLEEP_S", 0.0)
    with psycopg.connect(conninfo) as busy:
        busy.execute("SELECT count(*) FROM book")
        thread = threading.Thread(target=busy.execute, args=("SELECT pg_sleep(1.5)",))
        thread.start()
        with pytest.raises(LockBudgetError):
            Door(opened(conninfo), ends_sleepers=True, budget_s=0.5).through(
                (Wanted("book"),), lambda: None
            )
        thread.join()
        assert busy.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("granted", "said"),
    [
        (None, "whether a blocker sleeps is not visible: it is waited for"),
        ("pg_monitor", "a blocker that sleeps cannot be ended: "),
    ],
)
def test_a_role_that_may_end_nobody_says_so_once_and_waits_on(
    conninfo: str,
    opened: Opened,
    monkeypatch: pytest.MonkeyPatch,
    granted: str | None,
    said: str,
) -> None:
    monkeypatch.setattr(sleepers, "ASLEEP_S", 0.0)
    ours, told = opened(conninfo), list[Event]()
    role = f"weak_{ours.pid}"
    name = sql.Identifier(role)
    ours.execute(sql.SQL("CREATE ROLE {}; GRANT {} TO opssight").format(name, name))
    ours.execute(sql.SQL("ALTER TABLE book OWNER TO {}").format(name))
    if granted is not None:
        ours.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(granted), name))
    ours.execute(sql.SQL("SET ROLE {}").format(name))
    try:
        with asleep(conninfo, "SELECT count(*) FROM book"), pytest.raises(LockBudgetError):
            Door(ours, emit=told.append, ends_sleepers=True, budget_s=1).through(
                (Wanted("book"),), lambda: None
            )
    finally:
        ours.execute("RESET ROLE")
        ours.execute("ALTER TABLE book OWNER TO opssight")
        ours.execute(sql.SQL("DROP ROLE {}").format(name))

    notes = [event for event in told if isinstance(event, Noted)]
    assert len(notes) == 1
    assert notes[0].message.startswith(said)
    assert notes[0].hint == "GRANT pg_monitor, pg_signal_backend to this role"
