"""A whole migration under load, with what stood before and after it, measured and told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.least import OWNER, WORKER, Place, as_worker, make_roles, placed
from tests.load import control
from tests.load.traffic import Driving, Load, Statement, Traffic, at_rate, driving

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.migrate import migrate as carry_out
from opssight_migrate.model.events import (
    BatchDone,
    Emit,
    Event,
    LockTaken,
    RevisionApplied,
    StatementStarted,
    StepStarted,
    TableCompared,
    unheard,
)
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight import sample
from opssight_migrate.opssight.revisions import HEAD, START
from opssight_migrate.postgres import chain, sample_database
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

ALLOWED_MS = 100.0
"""How much longer than without a migration somebody may wait at worst."""

# Of a server that tests share with nobody: room for the load's connections, a launcher that comes
# every second, and no checkpoint in the middle.
SETTINGS = {
    "max_connections": "80",
    "shared_buffers": "256MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "1s",
}
_WARM_S = 2.0
_TAIL_S = 0.5
LONGEST_S = 1_800.0
"""Longer than any show."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event and when it was heard, on the clock of the statements."""

    at: float
    event: Event

    @property
    def phrase(self) -> str:
        """Say in a few words what was going on from here."""
        match self.event:
            case StepStarted(step_id=step_id):
                return f"step {step_id}"
            case StatementStarted(step_id=step_id, what=what):
                return f"{step_id}: {what}"
            case BatchDone(step_id=step_id, batch_rows=rows, elapsed_s=elapsed_s):
                return f"{step_id}: after a batch of {rows:,} in {elapsed_s * 1000:.0f} ms"
            case LockTaken(relation=relation, mode=mode, held_ms=held_ms):
                return f"{mode} on {relation} held {held_ms} ms, committed"
            case RevisionApplied(revision=revision):
                return f"{revision}: stamp"
            case TableCompared(phase=phase, table=table):
                return f"digest {phase}: after {table}"
            case other:
                return type(other).__name__


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """A migration under load: its report, what was told and when, and what the load met."""

    report: Report
    told: tuple[Told, ...]
    started: float
    ended: float
    traffic: Traffic

    @property
    def during(self) -> Traffic:
        """The load while the migration ran."""
        return self.traffic.within(self.started, self.ended)

    def going_on(self, one: Statement) -> str:
        """Say what the migration told from just before a statement was due to its end."""
        before = [told for told in self.told if told.at <= one.scheduled][-1:]
        meanwhile = [t for t in self.told if one.scheduled < t.at < one.finished]
        return "; ".join(told.phrase for told in (*before, *meanwhile)[:6]) or "nothing yet"

    def stalls(self, above_ms: float = 50.0, many: int = 12) -> list[str]:
        """Describe the longest waits and what went on meanwhile."""
        return [
            f"{s.latency_ms:7.1f} ms {s.kind} at +{s.scheduled - self.started:.3f} s"
            f" (sent after {(s.started - s.scheduled) * 1000:.1f} ms): {self.going_on(s)}"
            for s in self.during.slowest(many)
            if s.latency_ms > above_ms
        ]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Show 1: the load without a migration, during ours, and during the control."""

    before: Traffic
    ours: Migrated
    after: Traffic
    control_s: float
    control: Traffic

    @property
    def quiet_worst_ms(self) -> float:
        """The longest wait without a migration: before it or after it."""
        return max(self.before.latencies().worst_ms, self.after.latencies().worst_ms)

    @property
    def our_worst_ms(self) -> float:
        """The longest wait during ours."""
        return self.ours.during.latencies().worst_ms

    @property
    def control_worst_ms(self) -> float:
        """The longest wait during the control."""
        return self.control.latencies().worst_ms

    @property
    def excess_ms(self) -> float:
        """How much longer than without a migration somebody waited at worst."""
        return self.our_worst_ms - self.quiet_worst_ms

    def text(self) -> str:
        """Return the report."""
        ran_s = self.ours.ended - self.ours.started
        stalls = self.ours.stalls() or ["none"]
        return "\n".join(
            [
                f"before, no migration, {self.before.seconds:.1f} s\n{self.before.table()}",
                f"\nduring our migration of {ran_s:.1f} s\n{self.ours.during.table()}",
                "longer than 50 ms:",
                *(f"  {line}" for line in stalls),
                f"\nafter, no migration, {self.after.seconds:.1f} s\n{self.after.table()}",
                "\nduring the control, the plain chain in one transaction of"
                f" {self.control_s:.1f} s, and behind it\n{self.control.table()}",
                f"\nworst: {self.quiet_worst_ms:.1f} ms without a migration,"
                f" {self.our_worst_ms:.1f} ms during ours ({self.excess_ms:+.1f},"
                f" allowed +{ALLOWED_MS:.0f}), {self.control_worst_ms:.1f} ms during the control",
            ]
        )


def settings_for(conninfo: str, **tables: object) -> Settings:
    """Make settings whose default environment is the database of ``conninfo``, for the worker."""
    return Settings.model_validate(
        {
            "project": {"default_environment": "load"},
            "environments": {"load": {"url": as_worker(conninfo)}},
            "old_release": {"rehearse": False},
            **tables,
        }
    )


def migrate(
    conninfo: str, emit: Emit = unheard, *, to: str | None = None, **tables: object
) -> Report:
    """Carry out the verb, whole, on the database of ``conninfo``; ``to`` None: to the target."""
    settings = settings_for(conninfo, **tables)
    return carry_out(
        settings,
        settings.profile(None),
        MigrateRequest(to=to),
        confirm=_yes,
        emit=emit,
    )


def _yes(plan: Plan, is_copy: bool) -> None:
    """Agree to everything."""


def fill(cluster: Cluster, name: str, factor: float) -> None:
    """Make the database ``name`` at the start with the sample times ``factor`` in it."""
    run_on(cluster, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(cluster.conninfo(name), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        chain.upgrade(chain.Drive(session=session), START)
        sample_database.load(session, sample.USUAL.scaled(factor))
        session.execute("VACUUM ANALYZE")
        session.execute("CHECKPOINT")


def filled(cluster: Cluster, name: str, factor: float) -> Place:
    """Fill a database, give it to an ordinary owner, and let the worker migrate it."""
    fill(cluster, name, factor)
    make_roles(cluster)
    return placed(cluster, name, WORKER)


@contextmanager
def copied(cluster: Cluster, template: Place) -> Iterator[str]:
    """Make a copy of a database for a while; give its superuser's conninfo."""
    name = f"copy_{uuid4().hex[:12]}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    run_on(cluster, copy.format(sql.Identifier(name), sql.Identifier(template.template)))
    template.opened_in(cluster.conninfo(name))
    try:
        yield cluster.conninfo(name)
    finally:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        run_on(cluster, drop.format(sql.Identifier(name)))


def run_on(cluster: Cluster, statement: sql.Composed) -> None:
    """Run one statement of the kind that no transaction may hold."""
    with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def load_on(
    conninfo: str, jobs: dict[str, int] | None = None, seconds: float = LONGEST_S
) -> Iterator[Driving]:
    """Drive the old release, or other jobs, on a database; it owns its tables, and no more."""
    tag, release = f"load-{uuid4().hex[:8]}", make_conninfo(conninfo, user=OWNER)
    with driving(Load(conninfo=release, tag=tag, seconds=seconds, jobs=jobs or at_rate())) as drive:
        yield drive


def quiet(conninfo: str, seconds: float, jobs: dict[str, int] | None = None) -> Traffic:
    """Measure the load without a migration."""
    with load_on(conninfo, jobs, seconds) as drive:
        return drive.rest()


def migrate_under_load(
    conninfo: str,
    *,
    jobs: dict[str, int] | None = None,
    also: Callable[[Event], None] = unheard,
    **tables: object,
) -> Migrated:
    """Migrate through every revision while the load goes on; ``also`` hears each event after."""
    told: list[Told] = []

    def emit(event: Event) -> None:
        told.append(Told(time.monotonic(), event))
        also(event)

    with load_on(conninfo, jobs) as drive:
        time.sleep(_WARM_S)
        started = time.monotonic()
        report = migrate(conninfo, emit, to=HEAD, **tables)
        ended = time.monotonic()
        time.sleep(_TAIL_S)
        traffic = drive.end()
    return Migrated(report=report, told=tuple(told), started=started, ended=ended, traffic=traffic)


def control_under_load(conninfo: str) -> tuple[float, Traffic]:
    """Run the control while the load goes on; return its seconds and the load from its start.

    What waits behind the control is judged too, so the load may go on for a while after it; it
    fails from there on, since the control leaves no shims.
    """
    with load_on(conninfo) as drive:
        time.sleep(_WARM_S)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            session = Session(connection)
            session.prepare()
            started = time.monotonic()
            control.migrate(session)
            ended = time.monotonic()
        time.sleep(_TAIL_S)
        traffic = drive.end()
    return ended - started, traffic.within(started, ended)


@contextmanager
def shown(cluster: Cluster, template: Place, quiet_s: float) -> Iterator[tuple[Shown, str]]:
    """Carry out show 1 on copies of ``template``; give it, and the migrated copy's conninfo."""
    with copied(cluster, template) as ours:
        quiet(ours, _WARM_S)
        before = quiet(ours, quiet_s)
        migrated = migrate_under_load(ours)
        after = quiet(ours, quiet_s)
        with copied(cluster, template) as theirs:
            quiet(theirs, _WARM_S)
            control_s, with_control = control_under_load(theirs)
        yield (
            Shown(
                before=before,
                ours=migrated,
                after=after,
                control_s=control_s,
                control=with_control,
            ),
            ours,
        )
