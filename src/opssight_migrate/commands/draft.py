"""The report of a verb while it is being written: it listens to events and catches the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Literal

from opssight_migrate import __version__
from opssight_migrate.commands import promises
from opssight_migrate.model.errors import (
    ConnectError,
    ConnectionLostError,
    ExitCode,
    InterruptedRunError,
    MigrateError,
    PartialError,
    RefusedError,
    Touched,
)
from opssight_migrate.model.events import (
    Event,
    ForecastCorrected,
    LockTaken,
    Noted,
    PlanMade,
    QueryMeasured,
    RevisionUndone,
    RunStarted,
    ServerSeen,
    StepFinished,
    StepStarted,
)
from opssight_migrate.model.plan import (
    Blocker,
    DatabaseFacts,
    Finding,
    Loss,
    Plan,
    PlannedStep,
    Severity,
)
from opssight_migrate.model.report import (
    Artifact,
    CheckResult,
    Database,
    Detail,
    Diagnostic,
    Environment,
    ForecastTime,
    LastRun,
    LedgerLine,
    LockPromise,
    LockReceipt,
    LockVictim,
    Lost,
    Next,
    Performance,
    Proof,
    QueryTime,
    Report,
    ReportStep,
    Revision,
    Rows,
    ServerLoad,
    Status,
    utc_now,
)
from opssight_migrate.opssight import revisions
from opssight_migrate.settings import Profile

_STATUS_OF_EXIT: dict[ExitCode, Status] = {
    ExitCode.USAGE: "refused",
    ExitCode.CONFIG: "refused",
    ExitCode.CONNECT: "failed",
    ExitCode.BUSY: "refused",
    ExitCode.REFUSED: "refused",
    ExitCode.ROLLED_BACK: "rolled_back",
    ExitCode.PARTIAL: "partial",
    ExitCode.NOT_CONFIRMED: "refused",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.TERMINATED: "interrupted",
}


def status_of(error: MigrateError) -> Status:
    """Return the report's word for an end by ``error``."""
    if isinstance(error, InterruptedRunError):
        return "interrupted"
    if error.touched is Touched.RESUMABLE:
        return "partial"
    return _STATUS_OF_EXIT.get(error.exit_code, "failed")


class Draft:
    """Collects what the report will say. ``report()`` closes it."""

    def __init__(self, command: str, profile: Profile, *, dry_run: bool = False) -> None:
        self.command = command
        self.profile = profile
        self.dry_run = dry_run
        self.status: Status = "ok"
        self.exit_code: ExitCode = ExitCode.OK
        self.run_id: str | None = None
        self.database: DatabaseFacts | None = None
        self.plan: Plan | None = None
        self.revision_to: str | None = None
        self.is_undoing = False
        self.shims: tuple[str, ...] = ()
        self.archives: tuple[str, ...] = ()
        self.retired: tuple[str, ...] = ()
        self.proof: Proof | None = None
        self.lost: Lost | None = None
        self.sql: str | None = None
        self.last_run: LastRun | None = None
        self.checks: list[CheckResult] = []
        self.diagnostics: list[Diagnostic] = []
        self.next: list[Next] = []
        self.artifacts: list[Artifact] = []
        self._queries: list[QueryTime] = []
        self._server: ServerLoad | None = None
        self._steps: dict[str, ReportStep] = {}
        self._started_at: datetime = utc_now()
        self._started = time.monotonic()

    def hear(self, event: Event) -> None:
        """Take down what an event says."""
        if self.is_undoing and isinstance(event, StepStarted | StepFinished | LockTaken):
            return
        match event:
            case RevisionUndone(revision=revision):
                self._take_back(revision)
            case PlanMade(plan=plan):
                self.plan, self.database = plan, plan.database
                self._steps = {step.step_id: _planned(step) for step in plan.steps}
            case RunStarted(run_id=run_id):
                self.run_id = run_id
            case StepStarted(step_id=step_id):
                self._mark(step_id, "running")
            case ForecastCorrected(step_id=step_id, corrected_s=corrected_s):
                self._correct(step_id, round(corrected_s * 1000))
            case LockTaken(step_id=step_id) as taken:
                self._receive(step_id, taken)
            case StepFinished(step_id=step_id, rows=rows, elapsed_s=elapsed_s):
                self._mark(step_id, "done", rows, int(elapsed_s * 1000))
            case Noted(severity=severity, message=message, code=code, hint=hint):
                kind: Literal["warning", "note"] = "warning" if severity == "warning" else "note"
                self.diagnostics.append(
                    Diagnostic(severity=kind, message=message, code=code, hint=hint)
                )
            case QueryMeasured(query_id=query_id):
                values = asdict(event)
                del values["query_id"]
                self._queries.append(QueryTime(id=query_id, **values))
            case ServerSeen():
                self._server = ServerLoad(**asdict(event))
            case _:
                pass

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Turn an error of ours into the report's status, exit code and diagnostic."""
        try:
            yield
        except MigrateError as error:
            self.fail(error if self.run_id else _before_any_change(error))

    def fail(self, error: MigrateError) -> None:
        """End the report with an error."""
        self.exit_code = error.exit_code
        self.status = status_of(error)
        self._steps = {
            key: step.model_copy(update={"status": "failed"}) if step.status == "running" else step
            for key, step in self._steps.items()
        }
        self.diagnostics.append(
            Diagnostic(
                code=error.code,
                severity="error",
                message=error.message,
                hint=error.hint,
                sqlstate=error.sqlstate,
                location=error.where,
                state=error.touched.sentence,
            )
        )

    def block(self, blocker: Blocker) -> None:
        """Take down a reason not to begin, beside the one that becomes the error."""
        self.diagnostics.append(
            Diagnostic(
                code=blocker.kind.value,
                severity="warning",
                message=blocker.message,
                hint=blocker.hint,
                location=blocker.where,
            )
        )

    def find(self, finding: Finding, *, with_sql: bool = False) -> None:
        """Take down a finding as a diagnostic."""
        severity: dict[Severity, Literal["error", "warning", "note"]] = {
            Severity.FAIL: "error",
            Severity.WARN: "warning",
            Severity.NOTE: "note",
        }
        self.diagnostics.append(
            Diagnostic(
                code=finding.check_id,
                severity=severity[finding.severity],
                message=finding.message,
                hint=finding.hint,
                location=finding.where,
                rows=finding.rows,
                keys=finding.keys,
                sql=finding.sql if with_sql else None,
                details=tuple(Detail(title=d.title, lines=d.lines) for d in finding.details),
            )
        )

    def report(self) -> Report:
        """Return the finished document."""
        plan = self.plan
        return Report(
            tool=f"opssight-migrate {__version__}",
            command=self.command,
            run_id=self.run_id,
            status=self.status,
            exit_code=int(self.exit_code),
            dry_run=self.dry_run,
            started_at=self._started_at,
            duration_ms=int((time.monotonic() - self._started) * 1000),
            environment=Environment(
                name=self.profile.name,
                protected=self.profile.protected,
                database=None if self.database is None else _database(self.database),
            ),
            revision=Revision.model_validate(
                {
                    "from": plan.revision_from if plan else self.revision_to,
                    "to": self.revision_to,
                    "head": revisions.HEAD,
                }
            ),
            plan_digest=plan.digest if plan else None,
            steps=tuple(self._steps.values()),
            announcements=plan.announcements if plan else (),
            kept=plan.kept if plan else (),
            shims=self.shims,
            archives=self.archives,
            retired=self.retired,
            losses=tuple(_line(one) for one in plan.losses) if plan else (),
            proof=self.proof,
            lost=self.lost,
            performance=self._performance(),
            sql=self.sql,
            last_run=self.last_run,
            checks=tuple(self.checks),
            diagnostics=(*self._broken_promises(), *self.diagnostics),
            artifacts=tuple(self.artifacts),
            next=tuple(self.next),
        )

    def _performance(self) -> Performance | None:
        if not self._queries and self._server is None:
            return None
        return Performance(queries=tuple(self._queries), server=self._server)

    def _broken_promises(self) -> tuple[Diagnostic, ...]:
        """Say which locks of finished steps make the plan's promise untrue."""
        if self.plan is None:
            return ()
        finished = [step for step in self._steps.values() if step.status == "done"]
        told = promises.broken(finished, frozenset(self.plan.in_use))
        return tuple(Diagnostic(severity="warning", message=sentence) for sentence in told)

    def _correct(self, step_id: str, corrected_ms: int) -> None:
        step = self._steps.get(step_id)
        if step is not None and step.forecast is not None:
            forecast = step.forecast.model_copy(update={"corrected_ms": corrected_ms})
            self._steps[step_id] = step.model_copy(update={"forecast": forecast})

    def _take_back(self, revision: str) -> None:
        """Say of a revision that a failed run undid, and of the data steps behind it, so."""
        if not self.is_undoing:
            return
        ids = list(self._steps)
        for step_id in ids[ids.index(revision) :] if revision in ids else []:
            step = self._steps[step_id]
            if step.status != "pending":
                self._steps[step_id] = step.model_copy(update={"status": "undone"})

    def _receive(self, step_id: str, taken: LockTaken) -> None:
        if (step := self._steps.get(step_id)) is None:
            return
        receipt = LockReceipt(
            relation=taken.relation,
            mode=taken.mode,
            waited_ms=taken.waited_ms,
            held_ms=taken.held_ms,
            victims=tuple(
                LockVictim(pid=v.pid, application=v.application, waited_ms=v.waited_ms)
                for v in taken.victims
            ),
        )
        self._steps[step_id] = step.model_copy(update={"locks": (*step.locks, receipt)})

    def _mark(
        self,
        step_id: str,
        status: Literal["running", "done"],
        rows: int | None = None,
        duration_ms: int | None = None,
    ) -> None:
        if (step := self._steps.get(step_id)) is None:
            return
        changes: dict[str, object] = {"status": status, "duration_ms": duration_ms}
        if rows is not None:
            total = step.rows.total if step.rows else None
            changes["rows"] = Rows(done=rows, total=total, exact=True)
        self._steps[step_id] = step.model_copy(update=changes)


def _before_any_change(error: MigrateError) -> MigrateError:
    """Where no run has begun there is nothing to resume: it was a refusal, or no connection."""
    if not isinstance(error, PartialError):
        return error
    kind = ConnectError if isinstance(error, ConnectionLostError) else RefusedError
    return kind(error.message, hint=error.hint, where=error.where, sqlstate=error.sqlstate)


_KINDS: dict[str, Literal["schema", "data", "retire"]] = {
    "schema": "schema",
    "data": "data",
    "retire": "retire",
}


def _planned(step: PlannedStep) -> ReportStep:
    estimate = step.estimate
    rows = None
    if estimate.rows is not None:
        rows = Rows(done=0, total=estimate.rows, exact=estimate.exact)
    return ReportStep(
        id=step.step_id,
        title=step.title,
        kind=_KINDS[step.kind],
        status="pending",
        rows=rows,
        forecast=ForecastTime(
            p50_ms=round(step.forecast.p50_s * 1000), p90_ms=round(step.forecast.p90_s * 1000)
        ),
        wal_bytes=estimate.wal_bytes,
        reversible=None if step.undo is None else step.undo.value,
        promised_locks=tuple(
            LockPromise(relation=one.relation, mode=one.mode, at_most_ms=one.at_most_ms)
            for one in estimate.locks
        ),
    )


def _line(one: Loss) -> LedgerLine:
    return LedgerLine(
        kind=one.kind.value, what=one.what, rows=one.rows, keys=one.keys, query=one.query
    )


def _database(facts: DatabaseFacts) -> Database:
    return Database(
        host=facts.host,
        port=facts.port,
        name=facts.name,
        user=facts.user,
        server_version=facts.server_version,
        timescaledb=facts.timescaledb,
        system_identifier=facts.system_identifier,
    )
