"""A streaming replica falls behind: the governor stops the walk, says so, and loses no second."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import SettingsFor, run_on
from tests.homes import new_home
from tests.least import WORKER, as_worker

from opssight_migrate.engine import batches
from opssight_migrate.engine.forecast import Correction
from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.signals import OldestTransaction, ReplicaLag, Signal, State
from opssight_migrate.model.events import BatchDone, Emit, Event, Paused, Resumed, unheard
from opssight_migrate.model.plan import Estimate, Finding
from opssight_migrate.postgres import connect, journal, marker, signals
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.installation import Installation, account_for
from opssight_migrate.postgres.journal import Audit, Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import Monitor
from opssight_migrate.steps.base import BatchedStep, StepContext, Walk

# Two servers for each version: once is enough.
pytestmark = pytest.mark.xdist_group("replica")

SLOT = "standby_of_the_test"
REPLICA = "standby1"
LIMIT_BYTES = 4 << 20
LIMIT_REACTION_S = 2.0

ROWS = """
CREATE TABLE papers (id bigint PRIMARY KEY, abstract text NOT NULL, words int);
INSERT INTO papers SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 120000) AS n;
CHECKPOINT;
"""
# Who works sees what others do, and no more: CREATE is for the journal.
ROLE = "CREATE ROLE {0} LOGIN; GRANT pg_monitor TO {0}"
GRANTS = "ALTER TABLE papers OWNER TO {0}; GRANT CREATE ON DATABASE {1} TO {0}"
FILL = sql.SQL(
    """
WITH batch AS (
    SELECT id FROM papers WHERE %(after)s::bigint IS NULL OR id > %(after)s::bigint
     ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE
), filled AS (
    UPDATE papers AS p SET words = length(p.abstract) FROM batch
     WHERE p.id = batch.id AND p.words IS NULL
 RETURNING p.id
)
SELECT (SELECT max(id)::text FROM batch) AS last_key, (SELECT count(*) FROM filled) AS rows
"""
)
LEFT = "SELECT count(*) FROM papers WHERE words IS NULL"
DROP_SLOT = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s
"""
SLOTS = "SELECT count(*) FROM pg_replication_slots"
# What the governor is measured by is asked in other words than its own.
LAG = """
SELECT pg_current_wal_lsn() - replay_lsn FROM pg_stat_replication WHERE application_name = %s
"""
CAUGHT_UP = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
STATE_OF = "SELECT state FROM pg_stat_activity WHERE pid = %s"
SENDERS = "SELECT array_agg(application_name ORDER BY application_name) FROM pg_stat_replication"
PAUSE, RESUME = "SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()"
PAUSED = "SELECT pg_is_wal_replay_paused()"

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
SETTINGS = {"max_prepared_transactions": "5"}


class FillPapers(BatchedStep):
    """A step that writes some 40 MB of WAL in its walk."""

    id = "fill-papers"
    title = "Fill papers.words from the abstract"
    needs = "80bd6a3c3fa1"
    audit = Audit(operation="UPDATE", severity="LOW", table="papers")

    def estimate(self, ctx: StepContext) -> Estimate:
        """Say what it moves."""
        return Estimate(rows=120_000, locks=())

    def verify(self, ctx: StepContext) -> list[Finding]:
        """Find nothing."""
        return []

    def walks(self, ctx: StepContext) -> tuple[Walk, ...]:
        """Name its one walk."""
        return (Walk(table="papers", batch_sql=FILL),)


@dataclass(frozen=True)
class Replicated:
    """A primary and its streaming standby."""

    primary: Cluster
    standby: Cluster

    def ask_standby(self, query: LiteralString) -> object:
        """Return one value from the standby."""
        return value(self.standby.conninfo("postgres"), query)

    def pause(self) -> None:
        """Stop the standby's replay, and wait until it stands."""
        self.ask_standby(PAUSE)
        assert self.ask_standby(PAUSED)

    def resume(self) -> None:
        """Let the standby replay again."""
        self.ask_standby(RESUME)

    def catch_up(self) -> None:
        """Wait until the standby has replayed all that is written by now."""
        here = value(self.primary.conninfo("postgres"), "SELECT pg_current_wal_lsn()::text")
        until = time.monotonic() + 60
        while not value(self.standby.conninfo("postgres"), CAUGHT_UP, here):
            assert time.monotonic() < until, "the standby does not catch up"
            time.sleep(0.05)


def value(conninfo: str, query: LiteralString, *parameters: object) -> object:
    """Run one statement in a session of its own; return its first value."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query, parameters).fetchone()
        return None if row is None else row[0]


@contextmanager
def home() -> Iterator[Path]:
    """A directory that a server may have for itself, also as root."""
    path = new_home("replica")
    try:
        yield path
    finally:
        shutil.rmtree(path)


def copied(primary: Cluster, directory: Path) -> None:
    """Make the data directory of a standby, as whoever the servers run as."""
    account = account_for(primary.home)
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    programs = Installation(primary.bin_dir, account)
    if account is not None and not programs.is_executable:
        programs = programs.copied_into(directory)
    server = conninfo_to_dict(primary.conninfo("postgres"))
    target = make_conninfo(
        host=server["host"], port=server["port"], user=server["user"], application_name=REPLICA
    )
    done = programs.run(
        "pg_basebackup", f"--dbname={target}", f"--pgdata={directory / 'data'}",
        "--write-recovery-conf", "--wal-method=stream", "--create-slot", f"--slot={SLOT}",
        "--checkpoint=fast", "--no-sync", cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # By this file a Cluster knows a directory of its own.
    (directory / "starting").touch()


@pytest.fixture(scope="module")
def replicated(server: Cluster) -> Iterator[Replicated]:
    """A primary of our own and a standby that streams from it, both gone afterwards."""
    with ExitStack() as stack:
        primary_home, standby_home = stack.enter_context(home()), stack.enter_context(home())
        primary = stack.enter_context(
            Cluster(primary_home, server.bin_dir, durable=False, settings=SETTINGS)
        )
        copied(primary, standby_home)
        with Cluster(standby_home, server.bin_dir, durable=False, settings=SETTINGS) as standby:
            run_on(primary, sql.SQL(ROLE).format(sql.Identifier(WORKER)))
            pair = Replicated(primary, standby)
            pair.catch_up()
            yield pair
        # The slot is active until the primary has noticed that the standby is gone.
        until = time.monotonic() + 10
        while value(primary.conninfo("postgres"), SLOTS):
            with suppress(psycopg.errors.ObjectInUse):
                value(primary.conninfo("postgres"), DROP_SLOT, SLOT)
            assert time.monotonic() < until, "the slot is still in use"


@pytest.fixture
def conninfo(replicated: Replicated) -> Iterator[str]:
    """A database with papers to fill, on a primary whose standby has caught up."""
    name = f"test_{uuid4().hex[:12]}"
    run_on(replicated.primary, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    conninfo = replicated.primary.conninfo(name)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(ROWS)
        connection.execute(sql.SQL(GRANTS).format(sql.Identifier(WORKER), sql.Identifier(name)))
    replicated.catch_up()
    yield conninfo
    replicated.resume()
    replicated.catch_up()
    run_on(
        replicated.primary,
        sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)),
    )


@pytest.fixture
def monitor(conninfo: str) -> Iterator[Monitor]:
    """The governor's own session."""
    with closing(
        Monitor(
            lambda: connect.opened(
                as_worker(conninfo), application_name="opssight-migrate/m1/governor"
            ),
            pytest.fail,
        )
    ) as monitor:
        yield monitor


@dataclass
class Told:
    """The events of a walk, each with its time."""

    events: list[tuple[float, Event]] = field(default_factory=list[tuple[float, Event]])
    also: Emit = unheard

    def emit(self, event: Event) -> None:
        """Take an event down."""
        self.events.append((time.monotonic(), event))
        self.also(event)

    def at(self, kind: type[Event]) -> list[float]:
        """Return when events of one class came."""
        return [at for at, event in self.events if isinstance(event, kind)]

    def stops(self) -> list[tuple[float, Paused]]:
        """Return when it was told that the walk stands."""
        return [
            (at, event)
            for at, event in self.events
            if isinstance(event, Paused) and event.text.startswith("stopped")
        ]


@contextmanager
def lag_passing(conninfo: str, limit_bytes: int) -> Iterator[list[float]]:
    """Note, every 10 ms and apart from the governor, when the lag is over the limit."""
    over = list[float]()
    ended = threading.Event()

    def look() -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            while not ended.wait(0.01):
                row = connection.execute(LAG, (REPLICA,)).fetchone()
                if row is not None and row[0] is not None and row[0] > limit_bytes:
                    over.append(time.monotonic())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield over
    finally:
        ended.set()
        thread.join()


@dataclass(frozen=True)
class Driven:
    """A walk that came to its end under a governor."""

    governor: Governor
    wall_s: float
    worked_s: float
    batches_s: float
    rows: int


def drive(conninfo: str, settings_for: SettingsFor, told: Told, signal: Signal) -> Driven:
    """Fill the papers with the engine's own walk; the governor paces it between batches."""
    working = connect.opened(as_worker(conninfo), application_name="opssight-migrate/m1")
    with closing(working) as session:
        with session.writing():
            journal.install(session)
            marker.mark(session, "test", connect.facts(session), adopt=False)
        book = Journal.begin(session, FACTS)
        step = FillPapers()
        began = time.monotonic()
        governor = Governor([signal], emit=told.emit)
        ctx = StepContext(
            session=session,
            profile=settings_for(as_worker(conninfo)).profile(None),
            drive=Drive(session=session),
            emit=told.emit,
        )
        (way,) = step.walks(ctx)
        correction = Correction(step.id, 1.0, 120_000, told.emit)
        rows = batches.walk(
            ctx, book, step.id, way, governor=governor, correction=correction, target_s=0.04
        )
        wall_s, worked_s = time.monotonic() - began, governor.worked_s
        done = [event.elapsed_s for _, event in told.events if isinstance(event, BatchDone)]
        assert session.scalar(LEFT) == 0
    return Driven(
        governor=governor, wall_s=wall_s, worked_s=worked_s, batches_s=sum(done), rows=rows
    )


@contextmanager
def resumed_later(replicated: Replicated, told: Told, after_s: float) -> Iterator[None]:
    """Let the standby replay again some time after the first stop was told."""
    timers = list[threading.Timer]()

    def hear(event: Event) -> None:
        if told.stops() and not timers:
            timers.append(threading.Timer(after_s, replicated.resume))
            timers[0].start()

    told.also = hear
    try:
        yield
    finally:
        for timer in timers:
            timer.join()


def test_a_replica_that_falls_behind_stops_the_walk_within_two_seconds(
    replicated: Replicated, conninfo: str, monitor: Monitor, settings_for: SettingsFor
) -> None:
    told = Told()
    signal = ReplicaLag(monitor, limit_bytes=LIMIT_BYTES, limit_s=None)
    replicated.pause()
    with lag_passing(conninfo, LIMIT_BYTES) as over, resumed_later(replicated, told, 3.0):
        driven = drive(conninfo, settings_for, told, signal)

    stopped_at, stop = told.stops()[0]
    reaction_s = stopped_at - over[0]
    assert reaction_s < LIMIT_REACTION_S
    assert stop.cause == "replica lag"
    assert stop.text.startswith(f"stopped until this is over: replica {REPLICA} is ")
    assert stop.text.endswith("behind (limit 4.0 MB)")
    # It does stop: no batch came in the three seconds until the standby was let go.
    resumed_at = told.at(Resumed)[0]
    assert resumed_at - stopped_at >= 3.0
    assert not [at for at in told.at(BatchDone) if stopped_at < at < stopped_at + 3.0]
    assert [event.since_s >= 2 for _, event in told.stops()][:2] == [False, True]
    # And it goes on, to the end.
    assert driven.rows == 120_000
    assert told.at(BatchDone)[-1] > resumed_at
    accounted(driven, "replica lag", at_least_s=3.0)


def accounted(driven: Driven, cause: str, *, at_least_s: float) -> None:
    """Working plus waiting by cause is the wall time, and the work is that of the batches."""
    lost = driven.governor.lost()
    assert list(lost) == [cause]
    assert lost[cause] >= at_least_s
    assert driven.worked_s + sum(lost.values()) == pytest.approx(driven.wall_s, rel=0.02)
    # Apart from the governor's word: what was not lost was spent in batches, but for reading.
    idle_s = driven.wall_s - sum(lost.values()) - driven.batches_s
    assert -0.02 * driven.wall_s <= idle_s <= 0.2 * driven.wall_s


def test_by_default_a_replica_more_than_a_second_behind_stops_the_walk(
    replicated: Replicated, conninfo: str, monitor: Monitor, settings_for: SettingsFor
) -> None:
    told = Told()
    replicated.pause()
    paused_at = time.monotonic()
    with resumed_later(replicated, told, 1.0):
        driven = drive(conninfo, settings_for, told, ReplicaLag(monitor))
    stopped_at, _ = told.stops()[0]
    assert stopped_at - paused_at < 1.0 + LIMIT_REACTION_S
    assert driven.rows == 120_000
    accounted(driven, "replica lag", at_least_s=1.0)


def test_a_replica_that_keeps_up_costs_nothing_worth_telling(
    conninfo: str, monitor: Monitor, settings_for: SettingsFor
) -> None:
    told = Told()
    driven = drive(conninfo, settings_for, told, ReplicaLag(monitor, limit_bytes=1 << 30))
    assert told.at(Paused) == []
    assert driven.governor.sentence() == "lost no time"


def test_the_reading_names_the_replica_and_an_ordinary_role_sees_that_there_is_one(
    replicated: Replicated, conninfo: str, monitor: Monitor
) -> None:
    found = monitor.ask(signals.replication)
    assert found is not None
    assert [replica.name for replica in found.replicas] == [REPLICA]
    assert (found.replicas[0].lag_bytes < LIMIT_BYTES, found.hidden) == (True, 0)
    run_on(replicated.primary, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier("nobody")))
    try:
        as_nobody = make_conninfo(conninfo, user="nobody")
        with closing(connect.opened(as_nobody, application_name="app")) as session:
            hidden = signals.replication(session)
            reading = ReplicaLag(Monitor(lambda: session, pytest.fail)).read()
    finally:
        run_on(replicated.primary, sql.SQL("DROP ROLE {}").format(sql.Identifier("nobody")))
    assert (hidden.replicas, hidden.hidden) == ((), 1)
    assert (reading.state, reading.value) == (State.GO, None)
    assert reading.note == "1 replica(s): lag not visible"


def test_a_logical_consumer_and_a_receiver_that_replays_nothing_are_no_replicas(
    replicated: Replicated, conninfo: str, monitor: Monitor
) -> None:
    here = value(conninfo, "SELECT pg_current_wal_lsn()::text")
    with (
        closing(receiving(conninfo, "consumer", "database")) as consumer,
        closing(receiving(conninfo, "receiver", "true")) as receiver,
    ):
        consumer.pgconn.exec_(
            b"CREATE_REPLICATION_SLOT consumer TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        )
        streaming(consumer, "SLOT consumer LOGICAL 0/0 (proto_version '1', publication_names 'p')")
        streaming(receiver, f"PHYSICAL {here}")
        assert value(conninfo, SENDERS) == ["consumer", "receiver", REPLICA]
        found = monitor.ask(signals.replication)
    assert found is not None
    assert [replica.name for replica in found.replicas] == [REPLICA]


def receiving(conninfo: str, name: str, kind: str) -> psycopg.Connection:
    """Connect as a consumer of WAL does."""
    return psycopg.connect(conninfo, replication=kind, application_name=name, autocommit=True)


def streaming(connection: psycopg.Connection, what: str) -> None:
    """Begin to receive WAL, and never say how far we are."""
    result = connection.pgconn.exec_(f"START_REPLICATION {what}".encode())
    assert result.status == psycopg.pq.ExecStatus.COPY_BOTH, result.error_message


def test_a_prepared_transaction_counts_as_somebody_elses(conninfo: str, monitor: Monitor) -> None:
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute("BEGIN")
        other.execute("UPDATE papers SET words = 0 WHERE id = 1")
        other.execute("PREPARE TRANSACTION 'forgotten'")
        time.sleep(0.2)
        try:
            reading = OldestTransaction(monitor, limit_s=0.1).read()
        finally:
            other.execute("ROLLBACK PREPARED 'forgotten'")
    assert reading.state is State.STOP
    assert "application 'prepared transaction forgotten'" in reading.text


def test_a_session_of_the_governor_is_idle_between_its_readings(
    conninfo: str, monitor: Monitor
) -> None:
    def state(session: Session) -> object:
        return value(conninfo, STATE_OF, session.pid)

    assert monitor.ask(state) == "idle"
