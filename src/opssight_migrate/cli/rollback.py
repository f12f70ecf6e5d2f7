"""``opssight-migrate rollback``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.backup import IdentityOption
from opssight_migrate.cli.migrate import ConfirmOption, DryRunOption, YesOption
from opssight_migrate.cli.options import (
    DetailedExitcodeOption,
    ReportOption,
    Shared,
    with_shared,
)
from opssight_migrate.model.errors import UsageError
from opssight_migrate.opssight.revisions import REVISIONS, is_published

if TYPE_CHECKING:
    from opssight_migrate.cli.confirmation import Confirmation
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

TypeOption = Annotated[
    Literal["schema", "data", "full"],
    typer.Option(
        "--type",
        "-t",
        show_default=False,
        help="schema (the default): by downgrades, rows are archived; data: to a backup, today's"
        " database is kept; full: to a backup, then to a revision.",
    ),
]
BackupFileOption = Annotated[
    Path | None,
    typer.Option(
        "--backup-file",
        metavar="PATH",
        help="One of ours, or an archive or SQL of pg_dump.",
        autocompletion=completion.backups,
    ),
]
TerminateOption = Annotated[
    bool, typer.Option("--terminate", help="Let clients be ended at the swap.")
]
IntoOption = Annotated[
    str | None,
    typer.Option("--into", metavar="NAME", help="Restore beside, by this name; swap nothing."),
]
ToRevisionOption = Annotated[
    str | None,
    typer.Option(
        "--to-revision",
        metavar="REV",
        help="Undo every revision after this one.",
        autocompletion=completion.revisions,
    ),
]
RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="Undo exactly what this run of migrate did.",
        autocompletion=completion.runs,
    ),
]


@with_shared
def rollback(
    shared: Shared,
    *,
    type: TypeOption = "schema",  # noqa: A002 (the option's name)
    to_revision: ToRevisionOption = None,
    run: RunOption = None,
    backup_file: BackupFileOption = None,
    identity: IdentityOption = None,
    terminate: TerminateOption = False,
    into: IntoOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    confirm: ConfirmOption = None,
    detailed_exitcode: DetailedExitcodeOption = False,
    report: ReportOption = None,
) -> None:
    """Take the database back to an earlier revision or to a backup; no row is lost on the way.

    \b
    Example:
      opssight-migrate rollback -e staging --to-revision d8b40ecdc203 --dry-run
      opssight-migrate rollback -e staging -t data --backup-file b.dump.zst.age
    """
    asked = _Asked(type, to_revision, run, backup_file, identity, terminate, into)
    asked.refuse_unclear()
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage, with_pending

    def work(stage: Stage) -> Report:
        ask = Confirmation(
            verb="Roll back",
            yes=yes,
            name=confirm,
            can_ask=can_be_asked(no_input=shared.no_input),
            again=f"opssight-migrate rollback {stage.hint}{asked.options}",
            show=stage.show_plan,
        )
        ended = asked.carried_out(stage, ask, dry_run=dry_run)
        return with_pending(ended) if dry_run and detailed_exitcode else ended

    log_prefix = None if dry_run else "rollback"
    Stage(
        shared,
        "rollback",
        log_prefix=log_prefix,
        shows_plan=True,
        dry_run=dry_run,
        side_files=SideFiles(html=report),
    ).perform(work)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the options say, taken together."""

    type: Literal["schema", "data", "full"]
    to_revision: str | None
    run: str | None
    backup_file: Path | None
    identity: Path | None
    terminate: bool
    into: str | None

    @property
    def options(self) -> str:
        """The same options, to be typed once more."""
        given: list[tuple[str, object]] = [
            ("--type", None if self.type == "schema" else self.type),
            ("--to-revision", self.to_revision),
            ("--run", self.run),
            ("--backup-file", self.backup_file),
            ("--identity", self.identity),
            ("--into", self.into),
        ]
        words = "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value)
        return words + (" --terminate" if self.terminate else "")

    def refuse_unclear(self) -> None:
        """Raise UsageError for options that do not go together, and for unknown revisions."""
        from opssight_migrate.cli.failures import nearest

        if self.type == "schema":
            self._refuse_unclear_schema()
        else:
            self._refuse_unclear_data()
        if self.to_revision is not None and not is_published(self.to_revision):
            known = [revision.id for revision in REVISIONS]
            raise UsageError(
                f"--to-revision: {nearest(self.to_revision, known, 'revision')}",
                hint="write the whole id",
            )

    def _refuse_unclear_schema(self) -> None:
        if (self.to_revision is None) == (self.run is None):
            raise UsageError(
                "name one of --to-revision and --run",
                hint=f"opssight-migrate rollback --to-revision {REVISIONS[0].id}",
            )
        of_data = {
            "--backup-file": self.backup_file,
            "--identity": self.identity,
            "--terminate": self.terminate,
            "--into": self.into,
        }
        if given := [name for name, value in of_data.items() if value]:
            raise UsageError(f"{given[0]} goes with --type data or full", hint="add --type data")

    def _refuse_unclear_data(self) -> None:
        if self.backup_file is None:
            raise UsageError(
                f"--type {self.type} needs --backup-file",
                hint="opssight-migrate backup list",
            )
        if self.run is not None or (self.type == "data" and self.to_revision is not None):
            name = "--run" if self.run is not None else "--to-revision"
            raise UsageError(
                f"{name} does not go with --type {self.type}",
                hint="--type data goes to the backup's own revision, --type full on from there",
            )
        if self.type == "full" and (self.to_revision is None or self.into is not None):
            what = "needs --to-revision" if self.to_revision is None else "takes no --into"
            raise UsageError(f"--type full {what}", hint="or name --type data")

    def carried_out(self, stage: Stage, ask: Confirmation, *, dry_run: bool) -> Report:
        """Do what was asked for, and return the report."""
        known = (stage.settings, stage.profile)
        if self.backup_file is not None:
            from opssight_migrate.cli.passphrase import asker
            from opssight_migrate.commands import rollback_data

            restore = rollback_data.RestoreRequest(
                backup_file=self.backup_file.expanduser().absolute(),
                identity=self.identity,
                to_revision=self.to_revision,
                into=self.into,
                terminates=self.terminate,
                dry_run=dry_run,
                argv_hint=stage.hint,
            )
            secret = asker(no_input=stage.shared.no_input)
            return rollback_data.rollback_data(
                *known, restore, confirm=ask, emit=stage.emit, ask=secret
            )
        from opssight_migrate.commands import rollback as command
        from opssight_migrate.commands import safety

        request = command.RollbackRequest(
            to_revision=self.to_revision, run=self.run, dry_run=dry_run, argv_hint=stage.hint
        )
        backup = safety.before(stage.profile, stage.emit)
        return command.rollback(*known, request, confirm=ask, emit=stage.emit, safety_backup=backup)
