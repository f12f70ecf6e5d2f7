"""``opssight-migrate migrate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import (
    DetailedExitcodeOption,
    MetricsFileOption,
    ReportOption,
    Shared,
    seconds_of,
    with_shared,
)
from opssight_migrate.model.errors import UsageError
from opssight_migrate.opssight.revisions import REVISIONS, is_published

if TYPE_CHECKING:
    from opssight_migrate.cli.confirmation import Confirmation
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show the plan, and change nothing.")
]
SqlOption = Annotated[
    bool,
    typer.Option("--sql", help="With -n: the SQL of the run, to be read."),
]
ToOption = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="REV",
        help="Go to this revision, not to the target.",
        autocompletion=completion.revisions,
    ),
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Agree to the plan; not where protected.")
]
ConfirmOption = Annotated[
    str | None,
    typer.Option("--confirm", metavar="NAME", help="Agree by the environment's name, unasked."),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="CODE", help="Go on in spite of this code. Repeatable."),
]
TerminateOption = Annotated[
    bool,
    typer.Option(
        "--terminate-idle-in-transaction",
        help="End who sleeps in a transaction in our way.",
    ),
]
PlanOutOption = Annotated[
    Path | None,
    typer.Option("--plan-out", metavar="FILE", help="Keep the plan here, for --plan later."),
]
PlanOption = Annotated[
    Path | None,
    typer.Option("--plan", metavar="FILE", help="Go on only if this is still the plan."),
]
WaitOption = Annotated[
    str | None,
    typer.Option("--wait", metavar="DURATION", help="Wait so long for another run, such as 10m."),
]
DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="DURATION",
        help="Stop after so long, such as 2h; exit 9, and the same command goes on.",
    ),
]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="DURATION",
        help="Time series may be moved while everybody waits, so long at the most.",
    ),
]


@with_shared
def migrate(
    shared: Shared,
    *,
    dry_run: DryRunOption = False,
    sql: SqlOption = False,
    to: ToOption = None,
    yes: YesOption = False,
    confirm: ConfirmOption = None,
    allow: AllowOption = None,
    terminate_idle_in_transaction: TerminateOption = False,
    plan_out: PlanOutOption = None,
    plan: PlanOption = None,
    wait: WaitOption = None,
    deadline: DeadlineOption = None,
    window: WindowOption = None,
    metrics_file: MetricsFileOption = None,
    detailed_exitcode: DetailedExitcodeOption = False,
    report: ReportOption = None,
) -> None:
    """Take the database to the multi-tenant schema, with its data, and prove that nothing is lost.

    \b
    Example:
      opssight-migrate migrate -e staging --dry-run
      opssight-migrate migrate -e staging
    """
    _refuse_unknown(to, allow or [], sql_alone=sql and not dry_run)
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage, with_pending

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import migrate as command

        ask = _question(shared, stage, yes, confirm, _again(stage.hint, to, allow or []))
        request = command.MigrateRequest(
            to=to,
            dry_run=dry_run,
            allow=tuple(allow or ()),
            ends_sleepers=terminate_idle_in_transaction,
            plan_out=plan_out,
            plan=plan,
            wait_s=seconds_of(wait, "--wait"),
            deadline_s=seconds_of(deadline, "--deadline"),
            window_s=seconds_of(window, "--window"),
            tells_sql=sql,
            argv_hint=stage.hint,
        )
        known = (stage.settings, stage.profile)
        ended = command.migrate(*known, request, confirm=ask, emit=stage.emit)
        return with_pending(ended) if dry_run and detailed_exitcode else ended

    Stage(
        shared,
        "migrate",
        log_prefix=None if dry_run else "migration",
        shows_plan=not sql,
        dry_run=dry_run,
        side_files=SideFiles(html=report),
        metrics_file=metrics_file,
    ).perform(work, page=_sql_page if sql else None)


def _sql_page(report: Report) -> list[str]:
    return (report.sql or "-- nothing to do").splitlines()


def _question(
    shared: Shared, stage: Stage, yes: bool, name: str | None, again: str
) -> Confirmation:
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked

    return Confirmation(
        verb="Migrate",
        yes=yes,
        name=name,
        can_ask=can_be_asked(no_input=shared.no_input),
        again=again,
        show=stage.show_plan,
    )


def _refuse_unknown(to: str | None, allow: list[str], *, sql_alone: bool) -> None:
    from opssight_migrate.cli.failures import nearest
    from opssight_migrate.model.plan import Obstacle

    if sql_alone:
        raise UsageError("--sql only shows: it goes with -n", hint="write -n --sql")
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
