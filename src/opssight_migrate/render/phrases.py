"""The sentences for events and errors that a terminal, plain text and the log file share."""

from __future__ import annotations

from humanize import naturalsize

from opssight_migrate.model import events as told
from opssight_migrate.model.errors import MigrateError, Touched
from opssight_migrate.model.events import Event
from opssight_migrate.model.report import Diagnostic, Report
from opssight_migrate.render.visible import sound, visible, visible_lines

_BLOCKERS_SHOWN = 3


def count(number: int | None) -> str:
    """Write a number with thousands separators; a dash for None."""
    return "-" if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Write a number and its noun: "1 row", "2 rows", "2 indexes"."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}es" if noun.endswith(("s", "x")) else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Write a length of time: "<1 s", "4.2 s", "31 s", "2 min 5 s", "1 h 4 min"."""
    if seconds < 1:
        return "<1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rows_of(done: int, total: int | None) -> str:
    """Write how far a step is. A total is an estimate, and is never shown as passed."""
    return f"{done:,} rows" if not total else f"{done:,} of {max(done, total):,} rows"


def event_line(event: Event) -> str | None:
    """Return one line for ``event``, or None for the plan, which has pages of its own."""
    match event:
        case told.PlanMade():
            return None
        case told.Noted():
            return labelled(event.severity, event.message, event.code, event.hint)
        case told.LockAwaited():
            return lock_line(event)
        case told.StopRequested():
            return f"{visible(event.signal_name)}: stopping after the current batch"
        case _:
            return visible(_progress(event))


def _progress(event: Event) -> str:
    match event:
        case told.RunStarted():
            again = f", goes on from run {event.resumes}" if event.resumes else ""
            return f"run {event.run_id}: {counted(event.steps_total, 'step')}{again}"
        case told.StepStarted():
            again = " (goes on where it was stopped)" if event.resumed else ""
            return f"step {event.number}/{event.steps_total} {event.step_id} {event.title}{again}"
        case told.StatementStarted():
            return f"{event.step_id}: {event.what}"
        case told.ConversionBegun():
            return f"{event.step_id}: {event.table} is converted"
        case told.Paused():
            so_far = f" (for {duration(event.since_s)})" if event.since_s >= 1 else ""
            return f"{event.step_id}: {event.text}{so_far}"
        case told.Resumed():
            return f"{event.step_id}: {event.cause} is over, {duration(event.lost_s)} lost"
        case told.LockTaken():
            return f"{event.step_id}: {_receipt(event)}"
        case told.BatchDone():
            return f"{event.step_id}: {rows_of(event.rows_done, event.rows_total)} of {event.table}"
        case told.ForecastCorrected():
            before, now = duration(event.forecast_s), duration(event.corrected_s)
            return f"{event.step_id}: at this rate {now} in all; the forecast was {before}"
        case told.RevisionApplied():
            return f"revision {event.revision} applied"
        case told.RevisionUndone():
            return f"revision {event.revision} undone"
        case told.StepFinished():
            rows = "" if event.rows is None else f", {counted(event.rows, 'row')}"
            return f"{event.step_id}: done{rows}, {duration(event.elapsed_s)}"
        case told.CheckStarted():
            return f"check {event.number}/{event.checks_total} {event.check_id}  {event.title}"
        case told.ProofStarted():
            return f"comparing {counted(event.tables, 'table')}"
        case told.TableCompared():
            return f"{event.table}: {counted(event.rows, 'row')}, {_comparison(event)}"
        case told.QueryMeasured():
            return f"{event.query_id}: {milliseconds(event.median_us)}, {event.verdict}"
        case told.ServerSeen():
            return f"server: {event.connections} of {event.connections_most} connections in use"
        case told.BackupStarted() | told.BackupProgressed() | told.BackupMade():
            return backup_line(event)
        case told.RunFinished():
            return f"run {event.run_id}: {event.status}, {duration(event.elapsed_s)}"
        case _:
            return type(event).__name__


def backup_line(event: told.BackupStarted | told.BackupProgressed | told.BackupMade) -> str:
    """Say how far a backup is: tables, bytes and the rate."""
    match event:
        case told.BackupStarted():
            how = "sealed" if event.sealed else "plain"
            proof = ", restored and compared as it is written" if event.proves else ""
            beside = f", by {event.jobs} pg_dump side by side" if event.jobs > 1 else ""
            return f"backup of {counted(event.tables, 'table')}, {how}{proof}{beside}: {event.path}"
        case told.BackupProgressed():
            rate = event.size_bytes / event.elapsed_s if event.elapsed_s > 0 else 0
            return (
                f"backup: {event.tables_done} of {counted(event.tables_total, 'table')} digested, "
                f"{naturalsize(event.size_bytes)}, {naturalsize(rate)}/s"
            )
        case told.BackupMade():
            proof = ", proven by a restore" if event.proven else ""
            return (
                f"backup made: {counted(event.rows, 'row')}, {naturalsize(event.size_bytes)}, "
                f"{duration(event.elapsed_s)}{proof}: {event.path}"
            )


def _receipt(event: told.LockTaken) -> str:
    cost = f"waited {event.waited_ms:,} ms, held {event.held_ms:,} ms"
    behind = "; ".join(
        f"pid {one.pid} {one.application} waited {one.waited_ms:,} ms for us"
        for one in event.victims
    )
    receipt = f"{event.mode} on {event.relation}: {cost}"
    return f"{receipt}; {behind}" if behind else receipt


def _comparison(event: told.TableCompared) -> str:
    if event.equal is None:
        return f"digest taken {event.phase}"
    return "as before" if event.equal else "DIFFERENT from before"


def lock_line(event: told.LockAwaited) -> str:
    """Say who blocks, since when, and what happens next."""
    left = max(event.budget_s - event.waited_s, 0)
    shown = "; ".join(_blocker(blocked) for blocked in event.blockers[:_BLOCKERS_SHOWN])
    more = len(event.blockers) - _BLOCKERS_SHOWN
    who = f"{shown} and {more:,} more" if more > 0 else shown or "somebody we may not see"
    return visible(
        f"waiting {duration(event.waited_s)} for {event.mode} on {event.relation}: held by {who}; "
        f"nobody queues behind us; giving up in {duration(left)}"
    )


def _blocker(blocked: told.Blocked) -> str:
    parts = [f"pid {blocked.pid}"]
    parts += [blocked.user] if blocked.user else []
    parts += [blocked.application] if blocked.application else []
    parts += [f"for {duration(blocked.age_s)}"] if blocked.age_s is not None else []
    parts += [f"with: {' '.join(blocked.query.split())}"] if blocked.query else []
    return " ".join(parts)


def milliseconds(microseconds: int) -> str:
    """Return a query's time in milliseconds, as closely as that is worth reading."""
    places = 2 if microseconds < 10_000 else 0
    return f"{microseconds / 1000:,.{places}f} ms"


def labelled(severity: str, message: str, code: str | None, hint: str | None) -> str:
    """Return "warning[OM310]: message (hint)" as one line."""
    label = f"{severity}[{code}]" if code else severity
    return visible(f"{label}: {message}" + (f" ({hint})" if hint else ""))


def verified(report: Report) -> str:
    """Return the verdict of a verification without a finding, and how much of it was asked."""
    skipped = sum(check.status == "skipped" for check in report.checks)
    if skipped == len(report.checks):
        return "nothing was checked"
    all_of_them = counted(len(report.checks), "check")
    left_out = f" ({skipped} of {all_of_them} skipped)" if skipped else ""
    return f"everything is as it should be{left_out}"


def error_lines(report: Report) -> list[str]:
    """Return the ``error:``, ``where:``, ``state:`` and ``help:`` lines of a failed report.

    Findings have no state: whoever only looks changes nothing.
    """
    errors = [found for found in report.diagnostics if found.severity == "error"]
    if not errors:
        return []
    lines: list[str] = []
    for error in errors:
        lines += _error(error)
    if report.status != "findings":
        state = next((error.state for error in errors if error.state), Touched.UNKNOWN.sentence)
        lines.append(f"state: {visible(state)}")
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    for hint in hints:
        first, *rest = visible_lines(hint)
        lines += [f"help:  {first}", *(f"       {line}" for line in rest)]
    return lines


def _error(error: Diagnostic) -> list[str]:
    label = f"error[{error.code}]" if error.code else "error"
    first, *rest = visible_lines(error.message)
    lines = [f"{visible(label)}: {first}", *(f"  {line.strip()}" for line in rest)]
    at = [error.location or "", f"SQLSTATE {error.sqlstate}" if error.sqlstate else ""]
    place = ", ".join(part for part in at if part and part not in error.message)
    return [*lines, f"where: {visible(place)}"] if place else lines


def diagnostic(error: MigrateError) -> Diagnostic:
    """Return an error as the JSON document states it."""
    return Diagnostic(
        code=error.code,
        severity="error",
        message=sound(error.message),
        hint=error.hint and sound(error.hint),
        sqlstate=error.sqlstate,
        location=error.where and sound(error.where),
        state=error.touched.sentence,
    )
