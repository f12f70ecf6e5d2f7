"""The governor with a clock of our own: it slows, stops, says why, and accounts for each second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.signals import (
    ClientLoad,
    CommitLatency,
    Load,
    OldestTransaction,
    Reading,
    ReplicaLag,
    Signal,
    State,
    own_load,
    usual_signals,
)
from opssight_migrate.model.errors import (
    ConnectError,
    ExitCode,
    HeldUpError,
    InterruptedRunError,
    StatementError,
    Touched,
)
from opssight_migrate.model.events import Event, Noted, Paused, Resumed
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.signals import (
    Monitor,
    Replica,
    Replication,
    Transaction,
    Transactions,
)
from opssight_migrate.settings import Settings

MB = 1 << 20


@dataclass
class FakeTime:
    """A clock that only sleeping and working move on."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list[float])

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        self.now += seconds


class Scripted(Signal):
    """A signal that says what ``says`` says at a time."""

    def __init__(self, name: str, says: Callable[[], Reading]) -> None:
        self.name = name
        self.read_times = 0
        self._says = says

    def read(self) -> Reading:
        """Say it."""
        self.read_times += 1
        return self._says()


class Answering(Monitor):
    """A monitor that has its answer ready."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def ask(self, question: Callable[[Session], object]) -> object:  # type: ignore[override]
        """Return it."""
        return self.answer


def reading(state: State, *, share: float = 0.5, rest: float = 0.0) -> Reading:
    """Return a reading of 100 times ``share`` with a limit of 100."""
    return Reading(
        state=state, value=100 * share, limit=100, text=f"{share:.0%} of the limit", rest=rest
    )


def until(time: FakeTime, end: float, state: State, **more: float) -> Callable[[], Reading]:
    """Say ``state`` until ``end`` seconds from now, then go."""
    begun = time.now
    return lambda: reading(state if time.now - begun < end else State.GO, **more)


def between(time: FakeTime, begin: float, end: float) -> Callable[[], Reading]:
    """Say stop from ``begin`` to ``end``."""
    begun = time.now
    return lambda: reading(State.STOP if begin <= time.now - begun < end else State.GO, share=2)


def governor(
    time: FakeTime,
    watched: Iterable[Signal],
    events: list[Event] | None = None,
    pause_point: Callable[[], None] = lambda: None,
) -> Governor:
    """Return a governor on that clock."""
    return Governor(
        tuple(watched),
        emit=(events if events is not None else []).append,
        pause_point=pause_point,
        clock=time.clock,
        sleep=time.sleep,
    )


def walk(time: FakeTime, governs: Governor, batches: int, batch_s: float = 0.04) -> None:
    """Work for a few batches."""
    for _ in range(batches):
        governs.pace("fill-books")
        time.now += batch_s


def test_a_governor_whose_signals_say_go_never_sleeps_and_reads_twice_a_second() -> None:
    time = FakeTime()
    calm = Scripted("calm", lambda: reading(State.GO))
    governs = governor(time, [calm])
    walk(time, governs, batches=100, batch_s=0.04)
    assert time.slept == []
    assert 6 <= calm.read_times <= 9
    assert governs.lost() == {}
    assert governs.sentence() == "lost no time"
    assert governs.worked_s == pytest.approx(4.0)


def test_it_stops_until_the_signal_allows_and_says_so_at_once() -> None:
    time, events = FakeTime(), list[Event]()
    signal = Scripted("replica lag", until(time, 30, State.STOP, share=1.5))
    governs = governor(time, [signal], events)
    governs.pace("fill-books")
    assert time.now == pytest.approx(1030, abs=0.25)
    assert events[0] == Paused(
        step_id="fill-books",
        cause="replica lag",
        text="stopped until this is over: 150% of the limit",
        since_s=0.0,
    )
    assert [e.since_s for e in events if isinstance(e, Paused)] == [0, 2, 12, 22]
    (resumed,) = (e for e in events if isinstance(e, Resumed))
    assert events[-1] is resumed
    assert (resumed.step_id, resumed.cause) == ("fill-books", "replica lag")
    assert resumed.lost_s == pytest.approx(30, abs=0.25)
    assert governs.lost() == {"replica lag": pytest.approx(30, abs=0.25)}


def test_a_stop_in_the_middle_of_a_walk_begins_within_a_quarter_of_a_second() -> None:
    time, events = FakeTime(), list[Event]()
    said_at = list[float]()

    def emit(event: Event) -> None:
        events.append(event)
        said_at.append(time.now)

    stop = Scripted("replica lag", between(time, 3.0, 5.0))
    governs = Governor([stop], emit=emit, clock=time.clock, sleep=time.sleep)
    walk(time, governs, batches=200)
    assert 1003.0 <= said_at[0] <= 1003.0 + 0.25 + 0.04
    assert isinstance(events[-1], Resumed)
    assert time.now == pytest.approx(1000 + 200 * 0.04 + 2, abs=0.3)


def test_slowing_rests_in_proportion_to_the_work() -> None:
    time = FakeTime()
    governs = governor(time, [Scripted("lag", lambda: reading(State.SLOW, rest=0.75))])
    walk(time, governs, batches=100, batch_s=0.04)
    assert governs.worked_s == pytest.approx(4.0)
    # The first batch had no work before it to rest for.
    assert governs.lost()["lag"] == pytest.approx(0.04 * 99 * 3)


def test_a_long_step_between_two_walks_is_not_rested_for() -> None:
    time = FakeTime()
    governs = governor(time, [Scripted("lag", lambda: reading(State.SLOW, rest=0.5))])
    time.now += 600
    governs.pace("fill-books")
    assert sum(time.slept) == pytest.approx(1.0)
    assert max(time.slept) <= 0.25


def test_a_slow_signal_that_flickers_is_one_episode() -> None:
    time, events = FakeTime(), list[Event]()
    begun = time.now

    def flickering() -> Reading:
        elapsed = time.now - begun
        is_slow = elapsed < 8 and int(elapsed * 2) % 2 == 0
        return reading(State.SLOW if is_slow else State.GO, rest=0.2)

    governs = governor(time, [Scripted("lag", flickering)], events)
    walk(time, governs, batches=300)
    assert [e.text for e in events if isinstance(e, Paused)][:1] == [
        "going slower: 50% of the limit"
    ]
    assert len([e for e in events if isinstance(e, Paused)]) <= 3
    (resumed,) = (e for e in events if isinstance(e, Resumed))
    assert resumed.lost_s == pytest.approx(governs.lost()["lag"])


def test_a_slow_signal_that_becomes_a_stop_is_told_at_once() -> None:
    time, events = FakeTime(), list[Event]()
    begun = time.now

    def worse_and_worse() -> Reading:
        elapsed = time.now - begun
        state = State.SLOW if elapsed < 1 else State.STOP if elapsed < 2 else State.GO
        return reading(state, rest=0.5)

    governs = governor(time, [Scripted("lag", worse_and_worse)], events)
    walk(time, governs, batches=60)
    texts = [(e.text.split(":")[0], e.since_s) for e in events if isinstance(e, Paused)]
    assert texts[0] == ("going slower", 0.0)
    assert texts[1][0] == "stopped until this is over"
    assert texts[1][1] == pytest.approx(1.0, abs=0.3)


def test_each_second_belongs_to_one_cause_and_all_of_them_are_the_wall_time() -> None:
    time, events = FakeTime(), list[Event]()
    began = time.now
    lag = Scripted("replica lag", between(time, 5, 35))
    old = Scripted("long transaction", between(time, 30, 46))
    governs = governor(time, [lag, old], events)
    walk(time, governs, batches=500, batch_s=0.04)
    wall_s = time.now - began
    lost = governs.lost()
    assert list(lost) == ["replica lag", "long transaction"]
    assert lost["replica lag"] == pytest.approx(30, abs=0.5)
    assert lost["long transaction"] == pytest.approx(11, abs=0.5)
    assert governs.worked_s == pytest.approx(500 * 0.04)
    assert governs.worked_s + sum(lost.values()) == pytest.approx(wall_s)
    assert governs.sentence() == "lost 41 s: replica lag 30, long transaction 11"
    ended = [(e.cause, round(e.lost_s)) for e in events if isinstance(e, Resumed)]
    assert ended == [("replica lag", 30), ("long transaction", 11)]


def test_time_lost_by_less_than_half_a_second_is_not_told_as_zero() -> None:
    time = FakeTime()
    governs = governor(time, [Scripted("lag", until(time, 0.2, State.STOP))])
    walk(time, governs, batches=3)
    assert governs.sentence() == "lost <1 s: lag"


def test_a_stop_signal_ends_the_wait_and_the_time_is_accounted_all_the_same() -> None:
    time = FakeTime()

    def pause_point() -> None:
        if time.now >= 1003:
            raise InterruptedRunError("stopped by SIGINT")

    stuck = Scripted("replica lag", lambda: reading(State.STOP))
    governs = governor(time, [stuck], pause_point=pause_point)
    time.now += 1
    with pytest.raises(InterruptedRunError):
        governs.pace("fill-books")
    assert time.now <= 1003.25
    assert governs.lost()["replica lag"] == pytest.approx(2.0)
    assert governs.worked_s == pytest.approx(1.0)


def test_a_stop_signal_ends_a_rest_too() -> None:
    time = FakeTime()

    def pause_point() -> None:
        raise InterruptedRunError("stopped by SIGINT")

    slow = Scripted("replica lag", lambda: reading(State.SLOW, rest=0.5))
    governs = governor(time, [slow], pause_point=pause_point)
    time.now += 1
    with pytest.raises(InterruptedRunError):
        governs.pace("fill-books")
    assert time.slept == []


def test_a_cause_that_lasts_longer_than_the_budget_ends_the_run_resumably() -> None:
    time = FakeTime()
    stuck = Scripted("replica lag", lambda: reading(State.STOP))
    governs = Governor([stuck], clock=time.clock, sleep=time.sleep, budget_s=60)
    with pytest.raises(HeldUpError, match=r"held up for 60 s \(governor.budget\): ") as ended:
        governs.pace("fill-books")
    assert ended.value.exit_code is ExitCode.BUSY
    assert ended.value.touched is Touched.RESUMABLE
    assert governs.lost()["replica lag"] == pytest.approx(60.25)


def test_the_budget_is_for_each_time_that_a_cause_lasts_and_not_for_all_of_them() -> None:
    time = FakeTime()
    often = Scripted("lag", lambda: reading(State.STOP if int(time.now) % 3 else State.GO))
    governs = Governor([often], clock=time.clock, sleep=time.sleep, budget_s=5)
    walk(time, governs, batches=2000)
    assert governs.lost()["lag"] > 20


def test_the_limits_are_those_of_the_settings() -> None:
    limits = Settings.model_validate(
        {
            "governor": {"replica_lag_mb": 2, "ignored_replicas": ["delayed"]},
            "environments": {"local": {}},
        }
    ).governor
    late = Replica(name="delayed at ::1", application="delayed", lag_bytes=9 * MB, lag_s=None)
    other = Replica(name="near at ::1", application="near", lag_bytes=3 * MB, lag_s=None)
    found = Replication(written_bytes=0, replicas=(late, other), hidden=0)
    lag, *_ = usual_signals(Answering(found), limits)
    assert lag.read().text == "replica near at ::1 is 3.0 MB behind (limit 2.0 MB)"


def replicas(*lags: tuple[str, int], written: int = 0, hidden: int = 0) -> Replication:
    """Return what a server with these replicas would say."""
    return Replication(
        written_bytes=written,
        replicas=tuple(Replica(name=name, lag_bytes=lag, lag_s=None) for name, lag in lags),
        hidden=hidden,
    )


def test_the_worst_replica_decides_and_is_named() -> None:
    signal = ReplicaLag(Answering(replicas(("near", 100), ("far", 17 * MB))))
    found = signal.read()
    assert found.state is State.STOP
    assert found.value == 17 * MB
    assert found.text == "replica far is 17.0 MB behind (limit 16.0 MB)"


def test_a_replica_that_is_late_on_purpose_can_be_ignored() -> None:
    lags = replicas(("near", 100), ("delayed", 170 * MB))
    assert ReplicaLag(Answering(lags), ignored=["delayed"]).read().state is State.GO


@pytest.mark.parametrize(
    ("lag_mb", "state", "rest"),
    [(0, State.GO, 0), (8, State.GO, 0), (12, State.SLOW, 0.45), (16, State.SLOW, 0.9)],
)
def test_lag_slows_from_half_of_the_limit(lag_mb: int, state: State, rest: float) -> None:
    found = ReplicaLag(Answering(replicas(("far", lag_mb * MB)))).read()
    assert found.state is state
    assert found.rest == pytest.approx(rest)


def test_lag_of_more_than_a_second_stops_below_the_limit_in_bytes() -> None:
    time = FakeTime()
    monitor = Answering(None)
    signal = ReplicaLag(monitor, clock=time.clock)
    states = list[tuple[float, State]]()
    # The primary writes 4 MB/s; the replica is stuck at 20 MB from 5 s on.
    for tick in range(40):
        elapsed, written = tick / 4, tick * MB
        monitor.answer = replicas(("far", max(written - 20 * MB, 0)), written=written)
        states.append((elapsed, signal.read().state))
        time.now += 0.25
    first_stop = next(elapsed for elapsed, state in states if state is State.STOP)
    assert first_stop == pytest.approx(6.25)
    assert all(state is State.GO for elapsed, state in states if elapsed <= 5.5)


def test_a_lag_below_one_megabyte_is_noise_on_an_idle_primary() -> None:
    time = FakeTime()
    signal = ReplicaLag(Answering(replicas(("far", MB // 2), written=50 * MB)), clock=time.clock)
    for _ in range(20):
        assert signal.read().state is State.GO
        time.now += 0.25


def test_no_replica_is_no_signal_and_a_hidden_one_is_not_visible() -> None:
    nobody = ReplicaLag(Answering(replicas())).read()
    assert (nobody.state, nobody.value, nobody.note) == (State.GO, None, None)
    hidden = ReplicaLag(Answering(replicas(hidden=2))).read()
    assert (hidden.state, hidden.value) == (State.GO, None)
    assert hidden.note == "2 replica(s): lag not visible"


def test_what_is_not_visible_is_noted_once_with_the_grant() -> None:
    time, events = FakeTime(), list[Event]()
    watched = [
        ReplicaLag(Answering(replicas(hidden=1))),
        OldestTransaction(Answering(Transactions(oldest=None, hidden=3))),
    ]
    walk(time, governor(time, watched, events), batches=100)
    assert [(e.message, e.hint) for e in events if isinstance(e, Noted)] == [
        ("1 replica(s): lag not visible", "GRANT pg_monitor to this role"),
        ("3 session(s): transactions not visible", "GRANT pg_monitor to this role"),
    ]


@pytest.mark.parametrize(
    ("age_s", "state"), [(1, State.GO), (47, State.GO), (55, State.SLOW), (61, State.STOP)]
)
def test_an_old_transaction_slows_and_then_stops(age_s: float, state: State) -> None:
    oldest = Transaction(pid=812, user="bob", application="psql", age_s=age_s)
    found = OldestTransaction(Answering(Transactions(oldest=oldest, hidden=0))).read()
    assert (found.state, found.value) == (state, age_s)
    assert f"pid 812, user bob, application 'psql' is open for {age_s} s" in found.text


def test_slow_commits_slow_down_and_are_forgotten_after_a_minute() -> None:
    time = FakeTime()
    signal = CommitLatency(clock=time.clock)
    for _ in range(4):
        signal.committed(3.0)
    assert (signal.read().state, signal.read().value) == (State.GO, None)
    for _ in range(16):
        signal.committed(0.4)
    found = signal.read()
    assert (found.state, found.value) == (State.SLOW, 3.0)
    for _ in range(20):
        signal.committed(0.4)
    assert signal.read().rest == pytest.approx(0.5)
    assert signal.read().text == "commits take 400 ms (p90, limit 200 ms)"
    time.now += 61
    assert signal.read().state is State.GO


def test_one_slow_commit_of_twenty_is_nothing() -> None:
    signal = CommitLatency()
    for _ in range(19):
        signal.committed(0.01)
    signal.committed(5.0)
    assert signal.read().state is State.GO


def test_the_governor_hands_commit_times_to_its_signals() -> None:
    time, events = FakeTime(), list[Event]()
    governs = governor(time, [CommitLatency(clock=time.clock)], events)
    for _ in range(10):
        governs.pace("fill-books")
        time.now += 0.5
        governs.committed(0.4)
    assert governs.lost()["commit latency"] == pytest.approx(0.5 * 5, rel=0.3)
    assert isinstance(events[0], Paused)


def test_memory_over_the_limit_slows() -> None:
    signal = ClientLoad(load=lambda: Load(cpu_s=1.0, rss_bytes=163 * MB))
    found = signal.read()
    assert (found.state, found.rest) == (State.SLOW, 0.5)
    assert found.text == "this program holds 163.0 MB of memory (limit 150.0 MB)"


def test_a_busy_core_slows_but_what_others_did_between_two_walks_does_not() -> None:
    time = FakeTime()
    used = [0.0]
    signal = ClientLoad(
        load=lambda: Load(cpu_s=used[0], rss_bytes=MB), limit_cpu=0.5, clock=time.clock
    )
    assert signal.read().value is None
    time.now, used[0] = time.now + 2, used[0] + 2
    found = signal.read()
    assert found.state is State.SLOW
    assert found.rest == pytest.approx(0.5)
    time.now, used[0] = time.now + 60, used[0] + 60
    assert signal.read().state is State.GO


def test_this_process_knows_its_own_load() -> None:
    before = own_load()
    assert 10 * MB < before.rss_bytes < 2000 * MB
    assert sum(n * n for n in range(2_000_000)) > 0
    assert own_load().cpu_s > before.cpu_s


def refusing() -> Session:
    """Stand for a server that cannot be reached."""
    raise ConnectError("no route to host")


def test_a_monitor_without_a_connection_says_so_once_and_tries_again_now_and_then() -> None:
    time, notes, tries = FakeTime(), list[str](), list[float]()

    def opened() -> Session:
        tries.append(time.now)
        return refusing()

    monitor = Monitor(opened, notes.append, clock=time.clock)
    governs = governor(time, [ReplicaLag(monitor), OldestTransaction(monitor)])
    walk(time, governs, batches=300)
    assert notes == ["the governor reads nothing until it is connected again: no route to host"]
    assert 2 <= len(tries) <= 3
    assert governs.lost() == {}


def test_a_question_that_the_server_refuses_is_noted_once() -> None:
    notes = list[str]()

    class Deaf(Session):
        """A session whose server answers set_config only."""

        def __init__(self) -> None:
            """Have no connection."""

        def execute(self, query: object, params: object = None) -> int:
            """Answer."""
            return 1

    monitor = Monitor(Deaf, notes.append)

    def unsupported(session: Session) -> int:
        raise StatementError("unsupported", sqlstate="0A000")

    assert monitor.ask(unsupported) is None
    assert monitor.ask(unsupported) is None
    assert notes == ["the governor cannot read one of its signals: unsupported"]
