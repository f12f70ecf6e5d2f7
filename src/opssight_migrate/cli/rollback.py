"""``opssight-migrate rollback``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from opssight_migrate.cli import completion
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
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

TypeOption = Annotated[
    Literal["schema"],
    typer.Option("--type", "-t", help="schema: through the chain's downgrades; rows are archived."),
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
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    confirm: ConfirmOption = None,
    detailed_exitcode: DetailedExitcodeOption = False,
    report: ReportOption = None,
) -> None:
    """Take the database back to an earlier revision, and keep every row that does not fit there.

    \b
    Example:
      opssight-migrate rollback -e staging --to-revision d8b40ecdc203 --dry-run
      opssight-migrate rollback -e staging --to-revision d8b40ecdc203
    """
    del type
    _refuse_unclear(to_revision, run)
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage, with_pending

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import rollback as command
        from opssight_migrate.commands import safety

        ask = Confirmation(
            verb="Roll back",
            yes=yes,
            name=confirm,
            can_ask=can_be_asked(no_input=shared.no_input),
            again=_again(stage.hint, to_revision, run),
            show=stage.show_plan,
        )
        request = command.RollbackRequest(
            to_revision=to_revision, run=run, dry_run=dry_run, argv_hint=stage.hint
        )
        ended = command.rollback(
            stage.settings,
            stage.profile,
            request,
            confirm=ask,
            emit=stage.emit,
            safety_backup=safety.before(stage.profile, stage.emit),
        )
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


def _refuse_unclear(to_revision: str | None, run: str | None) -> None:
    from opssight_migrate.cli.failures import nearest

    if (to_revision is None) == (run is None):
        raise UsageError(
            "name one of --to-revision and --run",
            hint=f"opssight-migrate rollback --to-revision {REVISIONS[0].id}",
        )
    if to_revision is not None and not is_published(to_revision):
        known = [revision.id for revision in REVISIONS]
        raise UsageError(
            f"--to-revision: {nearest(to_revision, known, 'revision')}", hint="write the whole id"
        )


def _again(hint: str, to_revision: str | None, run: str | None) -> str:
    given = f" --to-revision {shlex.quote(to_revision)}" if to_revision else ""
    named = f" --run {shlex.quote(run)}" if run else ""
    return f"opssight-migrate rollback {hint}{given}{named}"
