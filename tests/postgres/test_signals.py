"""The governor's readings on a real server: what others hold open, and what a role may not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.conftest import NewDatabase, run_on

from opssight_migrate.engine.signals import OldestTransaction, ReplicaLag, State
from opssight_migrate.model.errors import ConnectError
from opssight_migrate.postgres import connect, signals
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor

TERMINATE = "SELECT pg_terminate_backend(%s)"
IS_GONE = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"


@pytest.fixture
def ordinary_role(server: Cluster) -> Iterator[str]:
    """A role that may log in and no more, for the length of a test."""
    name = f"app_{uuid4().hex[:12]}"
    run_on(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    run_on(server, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def conninfo(new_database: NewDatabase) -> str:
    """An empty database."""
    return new_database()


@pytest.fixture
def other(conninfo: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection to the same database."""
    with psycopg.connect(conninfo, application_name="billing") as connection:
        yield connection


@pytest.fixture
def watching(conninfo: str) -> Iterator[Session]:
    """The governor's own connection."""
    with closing(opened(conninfo)) as session:
        yield session


def opened(conninfo: str) -> Session:
    """Open a session as a run does."""
    return connect.opened(conninfo, application_name="opssight-migrate/m1/governor")


def as_role(conninfo: str, role: str) -> str:
    """Return how ``role`` connects to the same database."""
    return make_conninfo(conninfo, user=role)


def grown_old(other: psycopg.Connection, age_s: float) -> int:
    """Open a transaction, let it age, and return the pid of its backend."""
    other.execute("SELECT 1")
    other.execute("SELECT pg_sleep(%s)", (age_s,))
    return other.info.backend_pid


def test_the_oldest_transaction_is_seen_with_its_pid_user_and_application(
    watching: Session, other: psycopg.Connection, conninfo: str
) -> None:
    pid = grown_old(other, 0.3)
    with psycopg.connect(conninfo) as younger:
        younger.execute("SELECT 1")
        found = signals.other_transactions(watching)
    assert found.hidden == 0
    assert found.oldest is not None
    assert (found.oldest.pid, found.oldest.application) == (pid, "billing")
    assert found.oldest.user == other.info.user
    assert 0.3 <= found.oldest.age_s < 30


def test_a_session_without_a_transaction_is_none(
    watching: Session, other: psycopg.Connection
) -> None:
    other.execute("SELECT 1")
    other.commit()
    found = signals.other_transactions(watching)
    assert (found.oldest, found.hidden) == (None, 0)


def test_our_own_sessions_and_other_databases_do_not_count(
    watching: Session, conninfo: str, new_database: NewDatabase
) -> None:
    with (
        psycopg.connect(conninfo, application_name="opssight-migrate/m1/fill-books") as ours,
        psycopg.connect(new_database()) as elsewhere,
    ):
        ours.execute("SELECT 1")
        elsewhere.execute("SELECT 1")
        assert signals.other_transactions(watching).oldest is None


def test_an_old_transaction_stops_and_its_end_lets_go(
    watching: Session, other: psycopg.Connection
) -> None:
    signal = OldestTransaction(Monitor(lambda: watching, pytest.fail), limit_s=0.2)
    pid = grown_old(other, 0.3)
    found = signal.read()
    assert found.state is State.STOP
    assert f"transaction of pid {pid}" in found.text
    other.rollback()
    assert signal.read().state is State.GO


def test_what_an_ordinary_role_may_not_see_is_not_visible_and_never_zero(
    conninfo: str, other: psycopg.Connection, ordinary_role: str
) -> None:
    grown_old(other, 0.1)
    with closing(opened(as_role(conninfo, ordinary_role))) as session:
        found = signals.other_transactions(session)
        assert found.oldest is None
        assert found.hidden == 1
        reading = OldestTransaction(Monitor(lambda: session, pytest.fail), limit_s=0.05).read()
        assert (reading.state, reading.value) == (State.GO, None)
        assert reading.note == "1 session(s): transactions not visible"


def test_pg_monitor_makes_it_visible(
    server: Cluster, conninfo: str, other: psycopg.Connection, ordinary_role: str
) -> None:
    pid = grown_old(other, 0.1)
    run_on(server, sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(ordinary_role)))
    with closing(opened(as_role(conninfo, ordinary_role))) as session:
        found = signals.other_transactions(session)
    assert found.hidden == 0
    assert found.oldest is not None
    assert found.oldest.pid == pid


def test_a_role_sees_its_own_sessions_and_counts_the_others(
    conninfo: str, other: psycopg.Connection, ordinary_role: str
) -> None:
    grown_old(other, 0.1)
    mine = as_role(conninfo, ordinary_role)
    with closing(opened(mine)) as session, psycopg.connect(mine) as friend:
        friend.execute("SELECT 1")
        found = signals.other_transactions(session)
        assert found.oldest is not None
        assert (found.oldest.pid, found.hidden) == (friend.info.backend_pid, 1)


def test_without_a_replica_there_is_no_signal(watching: Session) -> None:
    found = signals.replication(watching)
    assert (found.replicas, found.hidden, found.worst()) == ((), 0, None)
    assert found.written_bytes > 0
    reading = ReplicaLag(Monitor(lambda: watching, pytest.fail)).read()
    assert (reading.state, reading.value, reading.note) == (State.GO, None, None)


def ended(conninfo: str, session: Session) -> None:
    """End a session's backend, and wait until it is gone."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        pid = session.pid
        connection.execute(TERMINATE, (pid,))
        while connection.execute(IS_GONE, (pid,)).fetchone() != (True,):
            pass


def test_a_lost_connection_is_opened_again_and_noted_once(
    conninfo: str, other: psycopg.Connection
) -> None:
    pid = grown_old(other, 0.1)
    notes, now = list[str](), [0.0]
    sessions = list[Session]()

    def open_one() -> Session:
        sessions.append(opened(conninfo))
        return sessions[-1]

    monitor = Monitor(open_one, notes.append, clock=lambda: now[0])
    with closing(monitor):
        assert monitor.ask(signals.other_transactions) is not None
        ended(conninfo, sessions[0])
        assert monitor.ask(signals.other_transactions) is None
        assert monitor.ask(signals.other_transactions) is None
        now[0] = 6.0
        found = monitor.ask(signals.other_transactions)
        assert found is not None
        assert found.oldest is not None
        assert found.oldest.pid == pid
    assert len(sessions) == 2
    assert len(notes) == 1
    assert notes[0].startswith("the governor reads nothing until it is connected again: ")


def test_a_connection_lost_after_a_while_is_opened_again_at_once(conninfo: str) -> None:
    notes, now = list[str](), [0.0]
    sessions = list[Session]()

    def open_one() -> Session:
        sessions.append(opened(conninfo))
        return sessions[-1]

    with closing(Monitor(open_one, notes.append, clock=lambda: now[0])) as monitor:
        assert monitor.ask(signals.replication) is not None
        ended(conninfo, sessions[0])
        now[0] = 60.0
        assert monitor.ask(signals.replication) is not None
    assert (len(sessions), len(notes)) == (2, 1)


def test_a_slow_answer_is_given_up_and_stops_nothing(conninfo: str) -> None:
    notes = list[str]()
    with closing(Monitor(lambda: opened(conninfo), notes.append)) as monitor:
        assert monitor.ask(lambda session: session.scalar("SELECT pg_sleep(10)")) is None
        assert monitor.ask(signals.replication) is not None
    assert len(notes) == 1
    assert "statement timeout" in notes[0]


def test_a_server_that_lets_nobody_in_is_noted_and_not_raised(
    conninfo: str,
) -> None:
    notes = list[str]()
    nowhere = make_conninfo(conninfo, dbname="nowhere")
    with pytest.raises(ConnectError):
        opened(nowhere)
    monitor = Monitor(lambda: opened(nowhere), notes.append)
    assert monitor.ask(signals.replication) is None
    assert len(notes) == 1
