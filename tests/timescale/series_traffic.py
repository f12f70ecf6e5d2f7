"""A load on the series as the new release makes it: rows in, newest rows and single rows out.

Each statement is due at its place in a timetable, and its latency counts from there. It runs in a
process of its own, so that it never waits for the migration's Python.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from tests.load.traffic import Statement, Traffic

EVERY_S = 0.02
_READY = "ready"
_INSERT = """
INSERT INTO metrics (organization_id, "timestamp", metric_name, metric_type, source, value,
       is_interpolated, created_at, updated_at)
VALUES (1, clock_timestamp(), 'live', 'gauge', 'load', 1, false, now(), now()) RETURNING id
"""
_NEWEST = """
SELECT id, value FROM metrics WHERE organization_id = 1 AND "timestamp" > now() - interval '1 hour'
 ORDER BY "timestamp" DESC LIMIT 20
"""
_BY_KEY = "SELECT value FROM metrics WHERE id = 3"
_QUERIES = {"insert": _INSERT, "newest": _NEWEST, "by key": _BY_KEY}
KINDS = tuple(_QUERIES)


@dataclass(slots=True)
class Driven:
    """What became of the load; there once the block is left."""

    traffic: Traffic | None = None

    @property
    def ended(self) -> Traffic:
        """The traffic of a load that has ended."""
        assert self.traffic is not None
        return self.traffic


@contextmanager
def driving(conninfo: str) -> Iterator[Driven]:
    """Drive each kind of statement on a connection of its own until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.timescale.series_traffic", conninfo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    driven = Driven()
    try:
        assert process.stdout.readline().strip() == _READY
        yield driven
    finally:
        said, _ = process.communicate()
    driven.traffic = Traffic.from_json(said)


@dataclass(slots=True)
class _Load:
    conninfo: str
    statements: list[Statement] = field(default_factory=list[Statement])
    keys: list[int] = field(default_factory=list[int])
    stop: threading.Event = field(default_factory=threading.Event)

    def drive(self, kind: str) -> None:
        """Send one kind of statement, on time, until it is stopped."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            due = time.monotonic()
            while not self.stop.is_set():
                due += EVERY_S
                time.sleep(max(0.0, due - time.monotonic()))
                started, error = time.monotonic(), None
                try:
                    row = connection.execute(_QUERIES[kind].encode()).fetchone()
                    if kind == "insert" and row is not None:
                        self.keys.append(int(row[0]))
                except psycopg.Error as failure:
                    error = f"{failure.sqlstate} {failure}"
                self.statements.append(Statement(kind, due, started, time.monotonic(), error))


def _main(conninfo: str) -> None:
    load = _Load(conninfo)
    threads = [threading.Thread(target=load.drive, args=(kind,)) for kind in _QUERIES]
    for thread in threads:
        thread.start()
    print(_READY, flush=True)  # noqa: T201 (this is how a child process answers)
    sys.stdin.read()
    load.stop.set()
    for thread in threads:
        thread.join()
    ordered = sorted(load.statements, key=lambda one: one.scheduled)
    written = {"metrics": load.keys}
    answer = {"statements": [dataclasses.astuple(one) for one in ordered], "written": written}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    _main(sys.argv[1])
