"""Show 5: who waited for us, by our receipt, is who waited, by their own clocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from opssight_migrate.model.events import Event, LockTaken
from opssight_migrate.postgres.locks import Door, Wanted
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session

pytestmark = pytest.mark.xdist_group("load")

READERS = 6
HELD_S = 0.6
PERIOD_MS = 50  # an observer looks 20 times a second
NOISE_MS = 60  # what a machine of two cores adds to anybody's clock
READ = "SELECT count(*) FROM users WHERE id = 100002"


@dataclass
class Reader:
    """Somebody who reads users again and again, with a clock of their own."""

    pid: int = 0
    waits: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def longest_ms(self, since: float) -> float:
        """Return the longest wait of a read that was sent after ``since``."""
        return max((took for sent, took in self.waits if sent >= since), default=0.0) * 1000


@contextmanager
def reading(conninfo: str) -> Iterator[list[Reader]]:
    """Let six of them read."""
    readers, over = [Reader() for _ in range(READERS)], threading.Event()

    def read(reader: Reader) -> None:
        with psycopg.connect(conninfo, autocommit=True, application_name="reader") as connection:
            reader.pid = connection.info.backend_pid
            while not over.is_set():
                sent = time.monotonic()
                connection.execute(READ)
                reader.waits.append((sent, time.monotonic() - sent))
                over.wait(0.01)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        while not all(reader.waits for reader in readers):
            time.sleep(0.01)
        yield readers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_the_receipt_names_each_victim_with_the_wait_that_they_measured(
    database: str, opened: Callable[[str], Session]
) -> None:
    told: list[Event] = []
    session = opened(database)
    observer = Observer(lambda: opened(database))

    def hold() -> None:
        session.execute("SELECT pg_sleep(%s)", (HELD_S,))

    door = Door(session, emit=told.append, observer=observer, stall_budget_s=60)
    try:
        with reading(database) as readers:
            began = time.monotonic()
            door.through((Wanted("users"),), hold)
            time.sleep(0.1)
    finally:
        observer.close()

    (receipt,) = [event for event in told if isinstance(event, LockTaken)]
    by_receipt = {victim.pid: victim.waited_ms for victim in receipt.victims}
    by_their_clocks = {reader.pid: reader.longest_ms(began) for reader in readers}
    assert receipt.held_ms >= HELD_S * 1000
    assert set(by_receipt) == set(by_their_clocks)
    differences = [by_their_clocks[pid] - waited_ms for pid, waited_ms in by_receipt.items()]
    assert all(-NOISE_MS < off < PERIOD_MS + NOISE_MS for off in differences), differences
    assert {victim.application for victim in receipt.victims} == {"reader"}
