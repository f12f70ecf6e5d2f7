"""A run in a process of its own that meets its fault at a named event; argv holds a Point."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import make_conninfo

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import Event, StopRequested
from opssight_migrate.model.plan import Plan
from opssight_migrate.postgres.cluster import USER
from opssight_migrate.settings import Settings

REACHED = "reached\n"
_POLL_S = 0.005
_PATIENCE_S = 60.0
_WAITING_IN = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'opssight-migrate/%%/%%'
   AND state = 'active' AND wait_event_type = 'Lock' AND query LIKE %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where the fault comes: at the first event of this class whose text has ``of`` in it.

    ``first`` is SQL that another session runs there, in a transaction that stays open; with
    ``inside`` the fault then waits until the server waits for a lock in a statement LIKE that.
    With ``waits`` the run stands still there until the test has answered a line with a line.
    ``signals`` come one after the other, each when the one before has been heard.
    """

    conninfo: str
    event: str
    of: str = ""
    first: str = ""
    inside: str = ""
    waits: bool = False
    signals: tuple[str, ...] = ("SIGKILL",)

    def as_json(self) -> str:
        """Return what argv carries."""
        return json.dumps(dataclasses.asdict(self))


class Fault:
    """Listens to a run, and does to this process what its point says."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.has_come = False
        self.to_come = list(point.signals)
        others = make_conninfo(point.conninfo, user=USER)
        # Its name is not one of ours: a run must leave it alone.
        self.other = psycopg.connect(others, application_name="fault")
        self.watcher = psycopg.connect(others, application_name="watcher", autocommit=True)

    def hear(self, event: Event) -> None:
        """Look whether this is the event; a signal that was heard brings the next one."""
        if isinstance(event, StopRequested):
            self._signal()
        point = self.point
        if self.has_come or type(event).__name__ != point.event or point.of not in repr(event):
            return
        self.has_come = True
        if point.waits:
            sys.stdout.write(REACHED)
            sys.stdout.flush()
            sys.stdin.readline()
        if point.first:
            self.other.execute(point.first.encode())
        if point.inside:
            threading.Thread(target=self._signal_inside, daemon=True).start()
        else:
            self._signal()

    def _signal_inside(self) -> None:
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            row = self.watcher.execute(_WAITING_IN, (self.point.inside,)).fetchone()
            if row is not None and row[0]:
                self._signal()
                return
            time.sleep(_POLL_S)

    def _signal(self) -> None:
        if self.to_come:
            os.kill(os.getpid(), signal.Signals[self.to_come.pop(0)])

    def close(self) -> None:
        """Let go of what the other session holds."""
        self.other.close()
        self.watcher.close()


def agreed(plan: Plan, is_copy: bool) -> None:
    """Agree to every plan."""


def main(point: Point) -> None:
    """Migrate, and print the report if there is still somebody to print it."""
    environments = {"test": {"url": point.conninfo}}
    tables = {
        "project": {"default_environment": "test"},
        "environments": environments,
        "old_release": {"rehearse": False},
    }
    settings = Settings.model_validate(tables)
    fault = Fault(point)
    report = migrate(
        settings,
        settings.profile(None),
        MigrateRequest(),
        confirm=agreed,
        emit=fault.hear,
    )
    fault.close()
    sys.stdout.write(report.to_json())


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(Point(**{**given, "signals": tuple(given["signals"])}))
