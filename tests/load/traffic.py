"""An open-loop load that behaves like OpsSight's old release, in a process of its own.

Each job has its place in a timetable, and its latency counts from there, not from when a
connection was free for it: a stall shows in everything that was due meanwhile. The process prints
``ready`` once its connections are warm, drives until its time is over or its standard input ends,
and then prints what happened as one line of JSON. It needs psycopg alone.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any, LiteralString, Self

import psycopg

READY = "ready"
MOST_SECONDS = 1_800.0
MOST_JOBS = 400_000
# So many rows of a table, from all over it, are read beforehand to choose from.
_CHOICE = 2_000
_LEAD_S = 0.1

# Written as the old release writes: no organization, columns by name, keys from the sequence.
_INSERT_USER = """
INSERT INTO users (github_id, github_username, email, full_name, is_active, is_superuser, role_id)
VALUES (%(tag)s, %(tag)s, %(address)s, %(tag)s, true, false, %(role)s)
RETURNING id
"""
_UPSERT_USER = """
INSERT INTO users (github_id, github_username, email, full_name, is_active, is_superuser)
VALUES (%(tag)s, %(tag)s, %(email)s, %(tag)s, true, false)
    ON CONFLICT (email) DO UPDATE SET last_login = now(), updated_at = now()
RETURNING id
"""
_INSERT_TEAM = """
INSERT INTO teams (name, slug, is_active, max_members, default_role, created_by_user_id)
VALUES (%(tag)s, %(tag)s, true, 50, 'MEMBER', %(user)s)
RETURNING id
"""
_INSERT_PROJECT = """
INSERT INTO projects (name, slug, is_active, is_public, default_branch, team_id,
       created_by_user_id)
VALUES (%(tag)s, %(tag)s, true, false, 'main', %(team)s, %(user)s)
RETURNING id
"""
_INSERT_PIPELINE = """
INSERT INTO pipelines (pipeline_id, name, pipeline_type, status, branch, commit_sha,
       repository_url, repository_name, repository_owner, is_production_deploy, is_rollback,
       is_scheduled, project_id)
VALUES (%(tag)s, %(tag)s, 'BUILD', 'PENDING', 'main', '0123abcd',
       'https://git.example.com/load', 'load', 'load', false, false, false, %(made)s)
RETURNING id
"""
_UPDATE_LOGIN = "UPDATE users SET last_login = now(), updated_at = now() WHERE id = %(user)s"
_UPDATE_STATUS = """
UPDATE pipelines SET status = 'RUNNING', updated_at = now() WHERE id = %(pipeline)s
"""
_READ_USER = """
SELECT id, github_username, email, full_name, is_active, is_superuser, role_id, last_login
  FROM users WHERE id = %(user)s
"""
_READ_USER_BY_EMAIL = """
SELECT id, github_username, full_name, is_active, role_id FROM users WHERE email = %(email)s
"""
_READ_PROJECTS = """
SELECT id, name, slug, is_active, team_id FROM projects WHERE team_id = %(team)s ORDER BY id
"""
_COUNT_MEMBERS = "SELECT count(*) FROM team_memberships WHERE team_id = %(team)s"
_COUNT_PIPELINES = "SELECT count(*) FROM pipelines WHERE status = 'RUNNING'"


@dataclass(frozen=True, slots=True)
class _Part:
    """One statement of a job: what it counts as, its text, the table that it adds a row to."""

    kind: str
    text: LiteralString
    adds_to: str | None = None


# Jobs of two statements are transactions.
_JOBS: dict[str, tuple[_Part, ...]] = {
    "login": (_Part("read", _READ_USER), _Part("update", _UPDATE_LOGIN)),
    "look": (_Part("read", _READ_USER),),
    "find": (_Part("read", _READ_USER_BY_EMAIL),),
    "list": (_Part("read", _READ_PROJECTS),),
    "count members": (_Part("read", _COUNT_MEMBERS),),
    "count pipelines": (_Part("read", _COUNT_PIPELINES),),
    "sign up": (_Part("insert user", _INSERT_USER, "users"),),
    "upsert": (_Part("upsert user", _UPSERT_USER, "users"),),
    "found": (_Part("insert team", _INSERT_TEAM, "teams"),),
    "begin": (
        _Part("insert project", _INSERT_PROJECT, "projects"),
        _Part("insert pipeline", _INSERT_PIPELINE, "pipelines"),
    ),
    "run": (_Part("update", _UPDATE_STATUS),),
}
OLD_RELEASE: dict[str, int] = {
    "login": 20,
    "find": 15,
    "list": 10,
    "count members": 5,
    "count pipelines": 5,
    "sign up": 20,
    "upsert": 25,
    "found": 20,
    "begin": 20,
    "run": 20,
    "look": 0,
}
"""Jobs a second that make 200 statements, at least 20 of each kind."""
READERS: dict[str, int] = {"look": 80, "find": 40, "login": 20, "count members": 20}
"""Jobs a second of which nearly all read users."""
KINDS: tuple[str, ...] = tuple(sorted({part.kind for job in _JOBS.values() for part in job}))


def at_rate(statements: int = 200) -> dict[str, int]:
    """Return the old release's jobs a second, so many statements in all, reads being the rest."""
    jobs = dict(OLD_RELEASE)
    jobs["look"] = statements - rate_of(jobs)
    if jobs["look"] < 0:
        raise ValueError(f"below {rate_of(OLD_RELEASE)} statements/s some kind has less than 20")
    return jobs


def rate_of(jobs: Mapping[str, int]) -> int:
    """Return how many statements a second these jobs are."""
    return sum(rate * len(_JOBS[name]) for name, rate in jobs.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to drive: ``jobs`` a second by name, for ``seconds`` at the most.

    ``tag`` stands in every row that is written and must be new to the database.
    """

    conninfo: str
    tag: str
    seconds: float
    jobs: dict[str, int] = field(default_factory=at_rate)
    connections: int = 24


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as it went; times are of CLOCK_MONOTONIC, which all processes share.

    ``scheduled`` is when its job was due, ``started`` when it was sent; ``error`` is SQLSTATE and
    text, None for a success.
    """

    kind: str
    scheduled: float
    started: float
    finished: float
    error: str | None

    @property
    def latency_ms(self) -> float:
        """How long whoever wanted it had to wait, from when it was due."""
        return (self.finished - self.scheduled) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A distribution in milliseconds; all zero where there was no statement."""

    statements: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What became of a load. ``written`` are the ids that were acknowledged, by table."""

    statements: tuple[Statement, ...]
    written: dict[str, tuple[int, ...]]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the process printed."""
        found = json.loads(text)
        return cls(
            statements=tuple(Statement(*row) for row in found["statements"]),
            written={table: tuple(ids) for table, ids in found["written"].items()},
        )

    @cached_property
    def failed(self) -> tuple[Statement, ...]:
        """The statements that did not succeed."""
        return tuple(one for one in self.statements if one.error is not None)

    @property
    def seconds(self) -> float:
        """From the first due time to the last answer."""
        if not self.statements:
            return 0.0
        return max(s.finished for s in self.statements) - self.statements[0].scheduled

    def within(self, start: float, end: float) -> Traffic:
        """Return what was due or under way between two moments."""
        chosen = (s for s in self.statements if s.scheduled <= end and s.finished >= start)
        return Traffic(statements=tuple(chosen), written=self.written)

    def latencies(self, kind: str | None = None) -> Latencies:
        """Return the distribution for one kind, or for all."""
        found = sorted(s.latency_ms for s in self.statements if kind in (None, s.kind))
        if not found:
            return Latencies(statements=0, p50_ms=0, p99_ms=0, worst_ms=0)
        return Latencies(
            statements=len(found),
            p50_ms=found[len(found) // 2],
            p99_ms=found[min(len(found) - 1, len(found) * 99 // 100)],
            worst_ms=found[-1],
        )

    def slowest(self, many: int = 5) -> list[Statement]:
        """Return the statements that were waited for longest."""
        return sorted(self.statements, key=lambda s: -s.latency_ms)[:many]

    def table(self) -> str:
        """Return the latencies by kind, one line each."""
        lines = [f"{'':16} {'number':>8} {'p50':>9} {'p99':>9} {'worst':>9}  (ms)"]
        for kind in (*KINDS, None):
            found = self.latencies(kind)
            lines.append(
                f"{kind or 'all':16} {found.statements:8,} {found.p50_ms:9.1f}"
                f" {found.p99_ms:9.1f} {found.worst_ms:9.1f}"
            )
        lines.append(f"{len(self.failed)} failed")
        lines += sorted({f"  {one.kind}: {one.error}" for one in self.failed})[:10]
        return "\n".join(lines)


class Driving:
    """A load under way in its own process. ``end()`` stops it and says how it went."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def end(self) -> Traffic:
        """Let what is under way finish, and return what happened."""
        said, complained = self._process.communicate(timeout=60)
        return self._read(said, complained)

    def rest(self) -> Traffic:
        """Wait until its time is over, and return what happened."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        return self._read(said, self._process.communicate(timeout=60)[1])

    def _read(self, said: str, complained: str) -> Traffic:
        if self._process.returncode != 0:
            raise RuntimeError(f"the load ended with {self._process.returncode}: {complained}")
        return Traffic.from_json(said)


@contextmanager
def driving(load: Load) -> Iterator[Driving]:
    """Drive a load in a process of its own, whose GIL is nobody else's; it begins at once."""
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(dataclasses.asdict(load))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise RuntimeError(f"the load did not begin: {process.communicate()[1]}")
            yield Driving(process)
        finally:
            if process.poll() is None:
                process.kill()


class _Generator:
    """The work of the process: a timetable, and threads that take its places in turn."""

    def __init__(self, load: Load, stop: threading.Event) -> None:
        self.load = load
        self.stop = stop
        self.places = count()
        # Not secret, and the same in every run.
        chance = random.Random(7)
        self.deck = [name for name, rate in load.jobs.items() for _ in range(rate)]
        chance.shuffle(self.deck)
        self.last = min(int(min(load.seconds, MOST_SECONDS) * len(self.deck)), MOST_JOBS)
        with psycopg.connect(load.conninfo, autocommit=True) as connection:
            self.choices: dict[str, list[Any]] = {
                "user": _column(connection, "SELECT id FROM users ORDER BY hashint4(id)"),
                "team": _column(connection, "SELECT id FROM teams ORDER BY hashint4(id)"),
                "pipeline": _column(connection, "SELECT id FROM pipelines ORDER BY hashint4(id)"),
                "role": _column(connection, "SELECT id FROM roles WHERE is_active ORDER BY id"),
                "email": _column(
                    connection,
                    "SELECT email FROM users WHERE email LIKE 'user%@example.com'"
                    " ORDER BY hashint4(id)",
                ),
            }
        self.statements: list[Statement] = []
        self.written: dict[str, list[int]] = {}

    def run(self, is_ready: Callable[[], None]) -> None:
        """Connect, warm up, tell so, and drive to the end."""
        connections = [self._connected() for _ in range(self.load.connections)]
        start = time.monotonic() + _LEAD_S
        threads = [
            threading.Thread(target=self._work, args=(connection, start), daemon=True)
            for connection in connections
        ]
        # A collection in the middle of a run would be a stall of our own.
        gc.collect()
        gc.disable()
        is_ready()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()

    def _connected(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            self.load.conninfo, autocommit=True, application_name="old release"
        )
        # Reads what every job needs to know of the catalogue, so that the first ones are not slow.
        for name in ("look", "find", "list", "count members"):
            for part in _JOBS[name]:
                connection.execute(part.text, self._values(0, name))
        return connection

    def _work(self, connection: psycopg.Connection[Any], start: float) -> None:
        while (place := next(self.places)) < self.last:
            due = start + place / len(self.deck)
            if self.stop.wait(max(0.0, due - time.monotonic())):
                return
            self._do(connection, self.deck[place % len(self.deck)], place, due)

    def _do(self, connection: psycopg.Connection[Any], name: str, place: int, due: float) -> None:
        parts = _JOBS[name]
        values = self._values(place, name)
        done: list[tuple[str, float, float]] = []
        added: list[tuple[str, int]] = []
        started = time.monotonic()
        error: str | None = None
        try:
            if len(parts) == 1:
                self._send(connection, parts[0], values, added)
            else:
                with connection.transaction():
                    for part in parts[:-1]:
                        self._send(connection, part, values, added)
                        done.append((part.kind, started, time.monotonic()))
                        started = done[-1][2]
                    self._send(connection, parts[-1], values, added)
        except psycopg.Error as failure:
            error = f"{failure.sqlstate} {_first_line(failure)}"
        ended = time.monotonic()
        # Of a transaction that failed nothing was done; the last statement answers for its commit.
        for part, (_, sent, answered) in zip(parts, done, strict=False):
            self.statements.append(
                Statement(part.kind, due, sent, ended if error else answered, error)
            )
        for part in parts[len(done) :]:
            self.statements.append(Statement(part.kind, due, started, ended, error))
        if error is None:
            for table, number in added:
                self.written.setdefault(table, []).append(number)

    def _send(
        self,
        connection: psycopg.Connection[Any],
        part: _Part,
        values: dict[str, Any],
        added: list[tuple[str, int]],
    ) -> None:
        cursor = connection.execute(part.text, values)
        if cursor.description is None:
            return
        rows = cursor.fetchall()
        if part.adds_to is not None:
            values["made"] = rows[0][0]
            added.append((part.adds_to, rows[0][0]))

    def _values(self, place: int, name: str) -> dict[str, Any]:
        # Strides that share no factor with the numbers of rows visit all of them.
        chosen = {key: some[place * 7919 % len(some)] for key, some in self.choices.items()}
        tag = f"{self.load.tag}-{place}"
        address = f"{tag}@load.example.com"
        if name == "upsert" and place % 2:
            chosen["email"] = address
        if name == "sign up" and place % 3 == 0:
            chosen["role"] = None
        return {**chosen, "tag": tag, "address": address}


def _column(connection: psycopg.Connection[Any], query: LiteralString) -> list[Any]:
    rows = connection.execute(query + f" LIMIT {_CHOICE}").fetchall()
    if not rows:
        raise RuntimeError(f"the load needs some rows: {query}")
    return [value for (value,) in rows]


def _first_line(failure: psycopg.Error) -> str:
    return str(failure).strip().partition("\n")[0]


def _await_end_of_input(stop: threading.Event) -> None:
    # The descriptor, not sys.stdin: its buffer is locked by a blocked read when Python ends.
    while os.read(0, 4096):
        pass
    stop.set()


def _report(generator: _Generator) -> str:
    statements: Iterable[Statement] = sorted(generator.statements, key=lambda s: s.scheduled)
    return json.dumps(
        {
            "statements": [
                (s.kind, *(round(t, 5) for t in (s.scheduled, s.started, s.finished)), s.error)
                for s in statements
            ],
            "written": generator.written,
        }
    )


def _main(load: Load) -> None:
    stop = threading.Event()
    threading.Thread(target=_await_end_of_input, args=(stop,), daemon=True).start()
    generator = _Generator(load, stop)
    generator.run(lambda: print(READY, flush=True))  # noqa: T201
    print(_report(generator), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main(Load(**json.loads(sys.argv[1])))
