"""From an exception to the report, the error lines and the exit code: the one place for all."""

from __future__ import annotations

import difflib
import shlex
import traceback
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from typer.exceptions import TyperException

from opssight_migrate import __version__
from opssight_migrate.cli.sigterm import TerminatedError
from opssight_migrate.model.errors import (
    ExitCode,
    InterruptedRunError,
    MigrateError,
    TerminatedRunError,
    Touched,
    UsageError,
)
from opssight_migrate.model.report import Environment, Report, Status, utc_now
from opssight_migrate.render.logfile import LogFile
from opssight_migrate.render.phrases import diagnostic
from opssight_migrate.settings.places import default_log_dir

PROGRAM = "opssight-migrate"
TOOL = f"{PROGRAM} {__version__}"


class UnexpectedError(MigrateError):
    """A mistake of ours. ``where`` is the log file that has the traceback."""

    touched = Touched.UNKNOWN


def error_of(
    error: BaseException, command: str, *, log: Path | None = None, touched: Touched
) -> MigrateError:
    """Return ``error`` as one of ours.

    ``log`` is where its traceback was written, if it was, and ``touched`` what is true of the
    database after an interruption.
    """
    match error:
        case MigrateError():
            return error
        case TyperException():
            return _usage_error(error, command)
        case KeyboardInterrupt():
            is_sigterm = isinstance(error, TerminatedError)
            kind = TerminatedRunError if is_sigterm else InterruptedRunError
            interrupted = kind("interrupted", hint=f"{PROGRAM} status")
            interrupted.touched = touched
            return interrupted
        case _:
            text = masked("".join(traceback.format_exception_only(error))).strip()
            return UnexpectedError(
                f"unexpected, a mistake of {TOOL}: {text}",
                hint=f"report it with {log}" if log else "report it; no log could be written",
                where=str(log) if log else None,
            )


def is_expected(error: BaseException) -> bool:
    """Tell whether an error needs no traceback."""
    return isinstance(error, MigrateError | TyperException | KeyboardInterrupt)


def report_of(
    error: MigrateError,
    command: str,
    started_at: datetime,
    *,
    environment: Environment | None = None,
    dry_run: bool = False,
) -> Report:
    """Return the document of a verb that ended with ``error``."""
    took = utc_now() - started_at
    return Report(
        tool=TOOL,
        command=command,
        status=_status(error),
        exit_code=int(error.exit_code),
        dry_run=dry_run,
        started_at=started_at,
        duration_ms=max(round(took.total_seconds() * 1000), 0),
        environment=environment,
        diagnostics=(diagnostic(error),),
    )


def traceback_lines(error: BaseException) -> list[str]:
    """Return the traceback, without what looks like a password."""
    return masked("".join(traceback.format_exception(error))).splitlines()


def crash_log(log_dir: Path | None, name: str, error: BaseException) -> Path | None:
    """Write a traceback to a log file of its own; None if that cannot be done either."""
    try:
        log = LogFile.open(log_dir or default_log_dir(), "crash", name)
        log.write([TOOL, *traceback_lines(error)])
        log.close()
    except OSError:
        return None
    return log.path


def masked(text: str) -> str:
    """Return ``text`` without what looks like a password."""
    try:
        from opssight_migrate.postgres.failures import masked as without_passwords
    except ImportError:
        return text  # the driver cannot be imported: no connection and no password were there
    return without_passwords(text)


def nearest(word: str, words: Collection[str], what: str) -> str:
    """Return 'no REVISION is called "x"; did you mean "y"?', or all that there are."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    known = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(words)}"
    return f'no {what} is called "{word}"; {known}'


def misplaced(given: Sequence[str], command: str) -> UsageError:
    """Return what to tell somebody who wrote options before the command."""
    place = given.index(command)
    words = [command, *given[:place], *given[place + 1 :]]
    return UsageError(
        f"no such option before the command: {given[0]}",
        hint=f"{PROGRAM} {shlex.join(words)}",
    )


def _usage_error(error: TyperException, command: str) -> UsageError:
    message = error.message or error.format_message()
    options = getattr(error, "possibilities", None)
    if options:
        message = f"{message}; did you mean {' or '.join(sorted(options))}?"
    elif not hasattr(error, "option_name"):
        message = error.format_message()
    verb = "" if command == PROGRAM else f" {command}"
    return UsageError(message[0].lower() + message[1:], hint=f"{PROGRAM}{verb} --help")


def _status(error: MigrateError) -> Status:
    if isinstance(error, InterruptedRunError):
        return "interrupted"
    return _STATUS.get(error.exit_code, "failed")


_STATUS: dict[ExitCode, Status] = {
    ExitCode.USAGE: "refused",
    ExitCode.CONFIG: "refused",
    ExitCode.BUSY: "refused",
    ExitCode.REFUSED: "refused",
    ExitCode.NOT_CONFIRMED: "refused",
    ExitCode.ROLLED_BACK: "rolled_back",
    ExitCode.PARTIAL: "partial",
}
