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
from opssight_migrate.postgres import audit_chain, baselines, ranges
from opssight_migrate.postgres.session import Session

SCHEMA = "opssight_migrate"

_SCHEMA_OF_JOURNAL = """
CREATE SCHEMA IF NOT EXISTS opssight_migrate;
CREATE TABLE IF NOT EXISTS opssight_migrate.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    environment text NOT NULL,
    system_identifier text NOT NULL,
    database_oid bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    marked_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS opssight_migrate.runs (
    id text PRIMARY KEY,
    lineage text[] NOT NULL,
    epoch bigint NOT NULL,
    command text NOT NULL,
    environment text NOT NULL,
    operator text NOT NULL,
    os_user text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    tool_version text NOT NULL,
    server_version text NOT NULL,
    settings_digest text NOT NULL,
    plan_digest text NOT NULL,
    revision_from text,
    revision_to text NOT NULL,
    status text NOT NULL DEFAULT 'running',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    error text
);
CREATE TABLE IF NOT EXISTS opssight_migrate.steps (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'running',
    rows bigint,
    forecast_ms bigint,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (run_id, step_id)
);
CREATE TABLE IF NOT EXISTS opssight_migrate.batches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    walk text NOT NULL,
    last_key text,
    rows bigint NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS batches_walk ON opssight_migrate.batches (step_id, walk, id);
CREATE TABLE IF NOT EXISTS opssight_migrate.lock_receipts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    relation text NOT NULL,
    mode text NOT NULL,
    waited_ms bigint NOT NULL,
    held_ms bigint NOT NULL,
    victims jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS opssight_migrate.audit_rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    audit_id uuid NOT NULL UNIQUE,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation text NOT NULL,
    severity text NOT NULL,
    table_name text NOT NULL,
    record_id text,
    description text NOT NULL,
    context jsonb NOT NULL,
    written_at timestamptz
);
CREATE TABLE IF NOT EXISTS opssight_migrate.snapshots (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    table_name text NOT NULL,
    columns text[] NOT NULL,
    rows bigint NOT NULL,
    digest text NOT NULL,
    writes bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, table_name)
);
"""
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
INSERT INTO opssight_migrate.batches (run_id, step_id, walk, last_key, rows)
VALUES (%s, %s, %s, %s, %s)
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


def install(session: Session) -> None:
    """Make the journal, unless it is there."""
    for schema in (_SCHEMA_OF_JOURNAL, audit_chain.SCHEMA, ranges.SCHEMA, baselines.SCHEMA):
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
            raise StaleRunError(
                "a newer run has begun on this database, so this one stops",
                hint="opssight-migrate status",
            )

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

    def advance(self, step_id: str, walk: str, last_key: str, rows: int) -> None:
        """Write a batch in the transaction that did its work, guarded by the epoch."""
        self.guard()
        self.session.execute(_BATCH, (self.run_id, step_id, walk, last_key, rows))

    def rewind(self, step_id: str, walk: str) -> None:
        """Begin a walk again: rows appeared behind its cursor."""
        self.session.execute(_BATCH, (self.run_id, step_id, walk, None, 0))

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
