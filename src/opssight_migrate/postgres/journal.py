"""The journal: schema ``opssight_migrate``, where every run says what it did, as it does it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from opssight_migrate.model.errors import StaleRunError
from opssight_migrate.model.events import LockTaken
from opssight_migrate.postgres import audit_chain, baselines, journal_tables, ranges
from opssight_migrate.postgres.session import Session

SCHEMA = "opssight_migrate"

_EXISTS = "SELECT to_regclass('opssight_migrate.snapshots') IS NOT NULL"
_NEXT_EPOCH = """
UPDATE opssight_migrate.installation SET epoch = epoch + 1 RETURNING epoch
"""
# FOR SHARE, so that no newer run can begin between the look and our commit.
_EPOCH_IS_OURS = """
SELECT true FROM opssight_migrate.installation WHERE epoch = %s FOR SHARE
"""
_UNFINISHED = """
SELECT id, lineage FROM opssight_migrate.runs
 WHERE command = %s
 ORDER BY epoch DESC LIMIT 1
"""
_LAST_STATUS = "SELECT status FROM opssight_migrate.runs WHERE id = %s"
_ENDED = ("ok", "superseded")
_ABANDONED = """
UPDATE opssight_migrate.runs SET status = 'abandoned', finished_at = clock_timestamp()
 WHERE status = 'running' AND id <> %s
"""
_RUN = """
INSERT INTO opssight_migrate.runs
    (id, lineage, epoch, command, environment, operator, os_user, host, pid, tool_version,
     server_version, settings_digest, plan_digest, revision_from, revision_to)
VALUES (%(id)s, %(lineage)s, %(epoch)s, %(command)s, %(environment)s, current_user, %(os_user)s,
        %(host)s, %(pid)s, %(tool_version)s, %(server_version)s, %(settings_digest)s,
        %(plan_digest)s, %(revision_from)s, %(revision_to)s)
"""
_STEP_STARTED = """
INSERT INTO opssight_migrate.steps (run_id, step_id, kind, forecast_ms)
VALUES (%s, %s, %s, %s)
    ON CONFLICT (run_id, step_id) DO UPDATE SET status = 'running', finished_at = NULL
"""
_STEP_ENDED = """
UPDATE opssight_migrate.steps
   SET status = %(status)s, rows = %(rows)s, finished_at = clock_timestamp()
 WHERE run_id = %(run)s AND step_id = %(step)s
"""
_STEP_BEGUN = """
SELECT EXISTS (SELECT FROM opssight_migrate.steps
                WHERE run_id = ANY(%s) AND step_id = %s AND status <> 'done')
"""
_CURSOR = """
SELECT last_key FROM opssight_migrate.batches
 WHERE run_id = ANY(%s) AND step_id = %s AND walk = %s
 ORDER BY id DESC LIMIT 1
"""
_ROWS_DONE = """
SELECT coalesce(sum(rows), 0) FROM opssight_migrate.batches
 WHERE run_id = ANY(%s) AND step_id = %s AND walk = %s
"""
_BATCH = """
WITH ours AS (
    SELECT FROM opssight_migrate.installation WHERE epoch = %s FOR SHARE
)
INSERT INTO opssight_migrate.batches (run_id, step_id, walk, last_key, rows)
SELECT %s, %s, %s, %s, %s FROM ours
"""
_RECEIPT = """
INSERT INTO opssight_migrate.lock_receipts
    (run_id, step_id, relation, mode, waited_ms, held_ms, victims)
VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb)
"""
_AUDIT_ROW = """
INSERT INTO opssight_migrate.audit_rows
    (audit_id, run_id, operation, severity, table_name, record_id, description, context)
VALUES (%(audit_id)s, %(run)s, %(operation)s, %(severity)s, %(table)s, %(record)s,
        %(description)s, %(context)s::jsonb)
"""
_AUDIT_LOGS_EXIST = "SELECT to_regclass('public.audit_logs') IS NOT NULL"
_AUDIT_ROWS_WRITTEN = """
WITH waiting AS (
    UPDATE opssight_migrate.audit_rows SET written_at = clock_timestamp()
     WHERE written_at IS NULL
 RETURNING *
)
INSERT INTO public.audit_logs
    (audit_id, operation, table_name, record_id, timestamp, severity, category, description,
     additional_context, correlation_id, sensitivity_level, retention_until)
SELECT audit_id, operation::auditoperation, table_name, record_id, at, severity::auditseverity,
       'migration', description, context, run_id, 'internal', at + interval '365 days'
  FROM waiting ORDER BY id
    ON CONFLICT (audit_id) DO NOTHING
"""
_LAST_RUN = """
SELECT id, command, environment, status, revision_from, revision_to, started_at, finished_at, error
  FROM opssight_migrate.runs ORDER BY epoch DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run writes of itself when it begins. Secrets are in none of these."""

    command: str
    environment: str
    tool_version: str
    server_version: str
    settings_digest: str
    plan_digest: str
    revision_from: str | None
    revision_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit row says of a step: an operation and a severity of OpsSight's own enums."""

    operation: str
    severity: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest run in the journal, for ``status``."""

    id: str
    command: str
    environment: str
    status: str
    revision_from: str | None
    revision_to: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None


def exists(session: Session) -> bool:
    """Tell whether the journal was ever made in this database."""
    return bool(session.scalar(_EXISTS))


def last_run(session: Session) -> LastRun | None:
    """Return the newest run, or None if there was none."""
    row = session.row(_LAST_RUN) if exists(session) else None
    if row is None:
        return None
    names = LastRun.__slots__
    return LastRun(**dict(zip(names, row, strict=True)))


_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'opssight_migrate')"


def install(session: Session) -> None:
    """Make the journal, unless it is there.

    A schema that is there is not asked for IF NOT EXISTS: that takes the right to make one.
    """
    if not session.scalar(_HAS_SCHEMA):
        session.execute("CREATE SCHEMA opssight_migrate")
    for schema in (journal_tables.SCHEMA, audit_chain.SCHEMA, ranges.SCHEMA, baselines.SCHEMA):
        session.execute(schema)


class Journal:
    """One run's pen. Every method writes in the caller's transaction, or in its own if none."""

    def __init__(self, session: Session, run_id: str, epoch: int, lineage: list[str]) -> None:
        self.session = session
        self.run_id = run_id
        self.epoch = epoch
        self.lineage = lineage

    @classmethod
    def begin(cls, session: Session, facts: RunFacts) -> Journal:
        """Open a run; it resumes the last one of its kind if that did not end well."""
        run_id = f"{facts.command[0]}{uuid.uuid4().hex[:10]}"
        with session.writing():
            epoch = int(session.scalar(_NEXT_EPOCH))
            before = session.row(_UNFINISHED, (facts.command,))
            lineage = [run_id]
            if before is not None and (session.scalar(_LAST_STATUS, (before[0],)) not in _ENDED):
                lineage = [*before[1], run_id]
            session.execute(
                _RUN,
                {
                    "id": run_id,
                    "lineage": lineage,
                    "epoch": epoch,
                    "command": facts.command,
                    "environment": facts.environment,
                    "os_user": _os_user(),
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "tool_version": facts.tool_version,
                    "server_version": facts.server_version,
                    "settings_digest": facts.settings_digest,
                    "plan_digest": facts.plan_digest,
                    "revision_from": facts.revision_from,
                    "revision_to": facts.revision_to,
                },
            )
            session.execute(_ABANDONED, (run_id,))
        return cls(session, run_id, epoch, lineage)

    @property
    def resumes(self) -> str | None:
        """The run that this one goes on from, or None."""
        return self.lineage[-2] if len(self.lineage) > 1 else None

    def guard(self) -> None:
        """Make sure, in the caller's transaction, that no newer run has begun.

        Raises: StaleRunError.
        """
        if not self.session.scalar(_EPOCH_IS_OURS, (self.epoch,)):
            raise _stale()

    def step_started(self, step_id: str, kind: str, forecast_s: float = 0.0) -> bool:
        """Write that a step begins; return whether an earlier run had begun it already.

        ``forecast_s`` is its time at the reference rates, kept beside what it will have taken.
        """
        begun = bool(self.session.scalar(_STEP_BEGUN, (self.lineage, step_id)))
        with self.session.writing():
            self.guard()
            self.session.execute(
                _STEP_STARTED, (self.run_id, step_id, kind, round(forecast_s * 1000))
            )
        return begun

    def step_ended(self, step_id: str, status: str, rows: int | None) -> None:
        """Write how a step ended: done or failed."""
        self.session.execute(
            _STEP_ENDED,
            {"status": status, "rows": rows, "run": self.run_id, "step": step_id},
        )

    def cursor(self, step_id: str, walk: str) -> tuple[str | None, int]:
        """Return the last committed key of a walk (None: at its beginning) and its rows so far."""
        values = (self.lineage, step_id, walk)
        return self.session.scalar(_CURSOR, values), int(self.session.scalar(_ROWS_DONE, values))

    def advance(self, step_id: str, walk: str, last_key: str | None, rows: int) -> None:
        """Write a batch in the transaction that did its work; key None: the walk begins again.

        Raises: StaleRunError.
        """
        # One statement guards and writes: what a batch asks besides is time that it does no rows.
        values = (self.epoch, self.run_id, step_id, walk, last_key, rows)
        if not self.session.execute(_BATCH, values):
            raise _stale()

    def rewind(self, step_id: str, walk: str) -> None:
        """Begin a walk again: rows appeared behind its cursor."""
        self.advance(step_id, walk, None, 0)

    def audit(
        self,
        audit: Audit,
        description: str,
        *,
        record: str | None = None,
        context: Mapping[str, object],
    ) -> None:
        """Leave an audit row; it waits here while there is no ``audit_logs`` to hold it."""
        audit_id = uuid.uuid4()
        self.session.execute(
            _AUDIT_ROW,
            {
                "audit_id": audit_id,
                "run": self.run_id,
                "operation": audit.operation,
                "severity": audit.severity,
                "table": audit.table,
                "record": record,
                "description": description,
                "context": json.dumps({"run_id": self.run_id, **context}),
            },
        )
        audit_chain.link(self.session, audit_id)
        if self.session.scalar(_AUDIT_LOGS_EXIST):
            self.session.execute(_AUDIT_ROWS_WRITTEN)

    def receive(self, taken: LockTaken) -> None:
        """Keep a lock receipt."""
        victims = [[v.pid, v.application, v.waited_ms] for v in taken.victims]
        self.session.execute(
            _RECEIPT,
            (
                self.run_id,
                taken.step_id,
                taken.relation,
                taken.mode,
                taken.waited_ms,
                taken.held_ms,
                json.dumps(victims),
            ),
        )

    def end(self, status: str, error: str | None = None) -> None:
        """Write how the run ended."""
        audit_chain.end_run(self.session, self.run_id, status, error)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a uid that has no name.
        return str(os.getuid())


def _stale() -> StaleRunError:
    return StaleRunError(
        "a newer run has begun on this database, so this one stops",
        hint="opssight-migrate status",
    )
