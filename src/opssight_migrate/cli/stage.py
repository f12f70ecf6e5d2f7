"""What a verb stands on: its settings, and everybody who hears of what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import typer

from opssight_migrate import settings as configuration
from opssight_migrate.cli import failures
from opssight_migrate.cli.destination import Destination, fitted, painted, tell, wants_color
from opssight_migrate.cli.options import Shared
from opssight_migrate.cli.side_files import SideFiles
from opssight_migrate.model.errors import ExitCode, Touched, UsageError
from opssight_migrate.model.events import Event, Noted, PlanMade, RunStarted
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import (
    Artifact,
    Diagnostic,
    Environment,
    Report,
    utc_now,
)
from opssight_migrate.render.annotations import annotation_lines
from opssight_migrate.render.console import ConsoleProgress
from opssight_migrate.render.fanout import Fanout
from opssight_migrate.render.jsonl import JsonLines, report_json
from opssight_migrate.render.logfile import LogFile
from opssight_migrate.render.metrics import write_metrics
from opssight_migrate.render.phrases import error_lines
from opssight_migrate.render.plain import OnlyWarnings, PlainProgress
from opssight_migrate.render.plan_text import plan_lines
from opssight_migrate.render.report_text import finding_lines, summary_lines
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.settings.places import default_log_dir

_HAS_A_PAGE = (ExitCode.OK, ExitCode.FINDINGS, ExitCode.PENDING)


class Progress(Protocol):
    """Whoever shows what is going on, on stderr."""

    def start(self) -> None: ...
    def emit(self, event: Event) -> None: ...
    def close(self) -> None: ...


class Stage:
    """One verb at work: made before its settings are read, left when its report is out."""

    settings: Settings
    profile: Profile

    def __init__(
        self,
        shared: Shared,
        command: str,
        *,
        log_prefix: str | None = None,
        shows_plan: bool = False,
        dry_run: bool = False,
        side_files: SideFiles | None = None,
        needs_profile: bool = True,
        metrics_file: Path | None = None,
    ) -> None:
        self.shared = shared
        self._side_files = side_files or SideFiles()
        self.command = command
        self.dry_run = dry_run
        self._log_prefix = log_prefix
        self._needs_profile = needs_profile
        self._metrics_file = metrics_file
        self._shows_plan = shows_plan
        self._has_begun = False
        self._started_at: datetime = utc_now()
        self._profile: Profile | None = None
        self._log: LogFile | None = None
        self._plan: Plan | None = None
        self._heard: list[Noted] = []
        self._result = Destination(sys.stdout)
        self._progress: Progress = OnlyWarnings(sys.stderr)
        self._fanout = Fanout(())

    @property
    def hint(self) -> str:
        """The options with which a next command finds the same database."""
        return self.shared.hint(self.profile.name)

    def emit(self, event: Event) -> None:
        """Tell everybody."""
        self._fanout.emit(event)

    def perform(
        self, work: Callable[[Stage], Report], *, page: Callable[[Report], list[str]] | None = None
    ) -> None:
        """Do the work, show what it ends with, and leave with its exit code.

        ``page`` writes a report as text, where it is not a summary; a verb that failed has none.
        Raises: typer.Exit.
        """
        try:
            self._result = Destination.open(self.shared.output_file)
            self._side_files.open()
            if self._needs_profile:
                self._open()
            report = work(self)
        except (Exception, KeyboardInterrupt) as error:
            report = self._failed(error)
        finally:
            self._progress.close()
        report = self._side_files.write(self._closing_log(self._hooked(self._naming_log(report))))
        self._write_metrics(report)
        self._show(report, page if report.exit_code in _HAS_A_PAGE else None)
        self._result.close()
        raise typer.Exit(report.exit_code)

    def show_plan(self, plan: Plan) -> None:
        """Put the plan before the eyes of whoever will be asked, if stdout did not."""
        if not (self._is_text and self._result.is_terminal):
            tell(plan_lines(plan))

    @property
    def _is_text(self) -> bool:
        return self.shared.output == "text" and not self.shared.quiet

    @property
    def _is_one_screen(self) -> bool:
        return self._is_text and self._result.is_terminal and sys.stderr.isatty()

    def _open(self) -> None:
        self.settings = configuration.load(self.shared.config)
        self.profile = self._profile = self.settings.profile(self.shared.environment)
        self._progress = _progress(self.shared)
        log, problem = self._opened_log()
        self._log = log
        listeners = [] if self.shared.quiet else [self._progress.emit]
        if self.shared.output == "jsonl":
            listeners.append(JsonLines(lambda line: self._result.write([line])).emit)
        self._fanout = Fanout([*listeners, *([log.emit] if log else []), self._hear])
        if self.shared.verbose:
            tell([f"environment {self.profile.name}: {self.profile.origin}"])
            tell([f"log: {log.path}"] if log else [])
        if problem:
            self.emit(problem)
        if not self.shared.quiet:
            self._progress.start()

    def _opened_log(self) -> tuple[LogFile | None, Noted | None]:
        if self._log_prefix is None:
            return None, None
        log_dir = self.shared.log_dir or default_log_dir()
        try:
            log = LogFile.open(log_dir, self._log_prefix, self.profile.name)
            log.write([f"{failures.TOOL} {self.command}"])
            log.write([f"environment {self.profile.name} ({self.profile.origin})"])
        except OSError as error:
            why = error.strerror or str(error)
            return None, Noted(
                severity="warning",
                message=f"no log file is written: {log_dir}: {why}",
                hint="name another directory with --log-dir",
            )
        return log, None

    def _hear(self, event: Event) -> None:
        match event:
            case PlanMade(plan=plan) if self._shows_plan:
                self._plan = plan
                if self._is_text:
                    self._write(plan_lines(plan, dry_run=self.dry_run))
            case RunStarted():
                self._has_begun = True
            case Noted():
                self._heard.append(event)
            case _:
                pass

    def _failed(self, error: BaseException) -> Report:
        path: Path | None = None
        if not failures.is_expected(error):
            name = self._profile.name if self._profile else "unknown"
            path = self._log.path if self._log else None
            if self._log is None:
                path = failures.crash_log(self.shared.log_dir, name, error)
            else:
                self._into_log(failures.traceback_lines(error))
        touched = Touched.UNKNOWN if self._has_begun else Touched.NOTHING
        told = failures.error_of(error, self.command, log=path, touched=touched)
        known = self._profile
        return failures.report_of(
            told,
            self.command,
            self._started_at,
            environment=Environment(name=known.name, protected=known.protected) if known else None,
            dry_run=self.dry_run,
        )

    def _write_metrics(self, report: Report) -> None:
        """Write the metrics; that they cannot be written does not change how the verb ended."""
        if self._metrics_file is None:
            return
        try:
            write_metrics(self._metrics_file, report)
        except UsageError as error:
            tell([f"warning: {error.message}"])

    def _into_log(self, lines: list[str]) -> None:
        try:
            if self._log is not None:
                self._log.write(lines)
        except OSError:
            return  # a full disk: the report still goes to the screen

    def _naming_log(self, report: Report) -> Report:
        if self._log is None:
            return report
        path = self._log.path
        size = path.stat().st_size if path.exists() else 0
        artifact = Artifact(kind="log", path=str(path), bytes=size)
        return report.model_copy(update={"artifacts": (*report.artifacts, artifact)})

    def _closing_log(self, report: Report) -> Report:
        try:
            if self._log is not None:
                self._log.finish(report, self.profile.origin)
                self._log.close()
        except OSError as error:
            tell([f"warning: the log file is incomplete: {error.strerror}"])
        return report

    def _hooked(self, report: Report) -> Report:
        """Tell the hooks; what becomes of them never changes how the verb ended."""
        if self._log_prefix is None or self._profile is None:
            return report
        from opssight_migrate.render import hooks

        problems = [
            Noted(severity="warning", message=failures.masked(problem))
            for problem in hooks.call(self._profile.hooks, report, lambda line: tell([line]))
        ]
        tell([f"warning: {one.message}" for one in problems])
        self._heard += problems
        said = (Diagnostic(severity="warning", message=one.message) for one in problems)
        return report.model_copy(update={"diagnostics": (*report.diagnostics, *said)})

    def _show(self, report: Report, page: Callable[[Report], list[str]] | None) -> None:
        color = wants_color(self.shared.color, sys.stderr)
        if report.status != "findings":
            tell(self._errors(report), color=color)
        elif self.shared.quiet:
            bad = (one for one in report.diagnostics if one.severity != "note")
            tell([line for one in bad for line in finding_lines(one)], color=color)
        if self.shared.output == "json":
            self._result.write([report.to_json()])
        elif self.shared.output == "jsonl":
            self._result.write([report_json(report)])
        elif self.shared.output == "github":
            self._result.write(annotation_lines(report))
        elif self._is_text and page is not None:
            self._result.write(page(report))
        elif self._is_text and (self._profile is not None or not report.diagnostics):
            self._write(
                summary_lines(
                    report,
                    origin=self._profile.origin if self._profile else "",
                    plan_shown=self._plan is not None,
                    heard=self._read_already(),
                )
            )

    def _errors(self, report: Report) -> list[str]:
        """Return the error lines; what the plan on the same screen says is not said again."""
        lines = error_lines(report)
        blockers = self._plan.blockers if self._plan else ()
        if not (blockers and lines and self._is_one_screen and report.status == "refused"):
            return lines
        state = next(line for line in lines if line.startswith("state:"))
        label = lines[0].partition(":")[0]
        return [f"{label}: the plan above says what stands in the way", state]

    def _write(self, lines: list[str]) -> None:
        choice = self.shared.color
        if self._result.is_terminal:
            lines = fitted(lines)
        if choice == "always" or (self._result.is_terminal and wants_color(choice, sys.stdout)):
            lines = [painted(line) for line in lines]
        self._result.write(lines)

    def _read_already(self) -> list[str]:
        """Return what the reader of the summary was told on the way; notes are said once only."""
        return [
            note.message for note in self._heard if note.severity == "note" or self._is_one_screen
        ]


def _progress(shared: Shared) -> Progress:
    wanted = shared.progress
    has_screen = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if wanted == "none" or shared.quiet:
        return OnlyWarnings(sys.stderr)
    if wanted in ("auto", "bar") and has_screen:
        color = wants_color(shared.color, sys.stderr)
        return ConsoleProgress(sys.stderr, color=color, verbose=shared.verbose)
    at_once = wanted in ("bar", "plain") or sys.stderr.isatty()
    return PlainProgress(sys.stderr, at_once=at_once, verbose=shared.verbose)


def with_pending(report: Report) -> Report:
    """Say by the exit code that there is something to do (--detailed-exitcode)."""
    if report.status == "pending" and report.exit_code == ExitCode.OK:
        return report.model_copy(update={"exit_code": int(ExitCode.PENDING)})
    return report
