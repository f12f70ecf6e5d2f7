"""``opssight-migrate migrate``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import DetailedExitcodeOption, ReportOption, Shared, with_shared
from opssight_migrate.model.errors import UsageError
from opssight_migrate.model.plan import Obstacle
from opssight_migrate.opssight.revisions import REVISIONS, is_published

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show the plan; read the database, change nothing.")
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="REV",
        help="Go to this revision and not to the configured target.",
        autocompletion=completion.revisions,
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Agree to the plan of an environment that is open.")
]
ConfirmOption = Annotated[
    str | None,
    typer.Option(
        "--confirm", metavar="NAME", help="Agree to the plan by the environment's name, unasked."
    ),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", metavar="CODE", help="Go on in spite of the blocker with this code. Repeatable."
    ),
]
TerminateOption = Annotated[
    bool,
    typer.Option(
        "--terminate-idle-in-transaction",
        help="End a session that is in the way and only sleeps in its transaction.",
    ),
]


@with_shared
def migrate(
    shared: Shared,
    *,
    dry_run: DryRunOption = False,
    to: ToOption = None,
    yes: YesOption = False,
    confirm: ConfirmOption = None,
    allow: AllowOption = None,
    terminate_idle_in_transaction: TerminateOption = False,
    detailed_exitcode: DetailedExitcodeOption = False,
    report: ReportOption = None,
) -> None:
    """Take the database to the multi-tenant schema, with its data, and prove that nothing is lost.

    \b
    Example:
      opssight-migrate migrate -e staging --dry-run
      opssight-migrate migrate -e staging
    """
    _refuse_unknown(to, allow or [])
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage, with_pending

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import migrate as command

        ask = Confirmation(
            verb="Migrate",
            yes=yes,
            name=confirm,
            can_ask=can_be_asked(no_input=shared.no_input),
            again=_again(stage.hint, to, allow or []),
            show=stage.show_plan,
        )

        request = command.MigrateRequest(
            to=to,
            dry_run=dry_run,
            allow=tuple(allow or ()),
            ends_sleepers=terminate_idle_in_transaction,
            argv_hint=stage.hint,
        )
        ended = command.migrate(
            stage.settings, stage.profile, request, confirm=ask, emit=stage.emit
        )
        return with_pending(ended) if dry_run and detailed_exitcode else ended

    log_prefix = None if dry_run else "migration"
    Stage(
        shared,
        "migrate",
        log_prefix=log_prefix,
        shows_plan=True,
        dry_run=dry_run,
        side_files=SideFiles(html=report),
    ).perform(work)


def _refuse_unknown(to: str | None, allow: list[str]) -> None:
    from opssight_migrate.cli.failures import nearest

    if to is not None and not is_published(to):
        known = [revision.id for revision in REVISIONS]
        raise UsageError(f"--to: {nearest(to, known, 'revision')}", hint="write the whole id")
    for code in allow:
        codes = [obstacle.value for obstacle in Obstacle if obstacle.may_be_allowed]
        if code not in codes:
            raise UsageError(f"--allow: {nearest(code, codes, 'blocker')}")


def _again(hint: str, to: str | None, allow: list[str]) -> str:
    given = f" --to {shlex.quote(to)}" if to else ""
    allowed = "".join(f" --allow {shlex.quote(code)}" for code in allow)
    return f"opssight-migrate migrate {hint}{given}{allowed}"
