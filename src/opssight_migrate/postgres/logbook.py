"""The runs of this database, as its journal remembers them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

_RUNS = """
SELECT id, command, environment, status, operator, os_user, host, tool_version, plan_digest,
       revision_from, revision_to, started_at, finished_at, error
  FROM opssight_migrate.runs
 WHERE %(id)s::text IS NULL OR id = %(id)s
 ORDER BY started_at DESC LIMIT %(limit)s
"""
_STEPS = """
SELECT step_id, kind, status, rows,
       (EXTRACT(epoch FROM finished_at - started_at) * 1000)::bigint
  FROM opssight_migrate.steps WHERE run_id = %s ORDER BY started_at, step_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run. ``revision_from`` None is an empty database, ``finished_at`` None a killed run."""

    id: str
    command: str
    environment: str
    status: str
    operator: str
    os_user: str
    host: str
    tool_version: str
    plan_digest: str
    revision_from: str | None
    revision_to: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStep:
    """One step of a run. ``duration_ms`` None: it did not end."""

    step_id: str
    kind: str
    status: str
    rows: int | None
    duration_ms: int | None


def runs(session: Session, *, limit: int, run_id: str | None = None) -> tuple[PastRun, ...]:
    """Return the newest runs, the newest first; empty where there is no journal."""
    if not journal.exists(session):
        return ()
    rows = session.rows(_RUNS, {"id": run_id, "limit": limit})
    return tuple(PastRun(**dict(zip(PastRun.__slots__, row, strict=True))) for row in rows)


def steps(session: Session, run_id: str) -> tuple[PastStep, ...]:
    """Return the steps of a run in the order in which they began."""
    rows = session.rows(_STEPS, (run_id,))
    return tuple(PastStep(**dict(zip(PastStep.__slots__, row, strict=True))) for row in rows)
