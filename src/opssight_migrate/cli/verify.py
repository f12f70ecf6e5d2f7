"""``opssight-migrate verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import ReportOption, Shared, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.commands.verify import VerifyRequest
    from opssight_migrate.model.report import Report

OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="ID",
        help="Run this check and no other. Repeatable.",
        autocompletion=completion.checks,
    ),
]
TestTypeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--test-type",
        "-t",
        metavar="CATEGORY",
        help="Run the checks of this category (all, schema, integrity, …). Repeatable.",
        autocompletion=completion.categories,
    ),
]
ProbeOption = Annotated[
    bool,
    typer.Option("--probe", help="Let checks also write rows, and roll them back."),
]
ShowSqlOption = Annotated[
    bool, typer.Option("--show-sql", help="Print the SQL that would mend a finding; run none.")
]
RestoreOption = Annotated[
    bool,
    typer.Option("--restore", help="Rehearse a rollback with the newest backup, restored."),
]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="Open its seal with the age or ssh key here."),
]
JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Also write the checks as JUnit XML."),
]
ListOption = Annotated[
    bool, typer.Option("--list", help="List the checks, and connect to nothing.")
]


@with_shared
def verify(
    shared: Shared,
    *,
    test_type: TestTypeOption = None,
    only: OnlyOption = None,
    probe: ProbeOption = False,
    show_sql: ShowSqlOption = False,
    restore: RestoreOption = False,
    identity: IdentityOption = None,
    report: ReportOption = None,
    junit: JunitOption = None,
    list_checks: ListOption = False,
) -> None:
    """Check that the database is what it should be, and change nothing.

    \b
    Example:
      opssight-migrate verify -e staging
      opssight-migrate verify -e staging -t tenancy -t rbac
    """
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.cli.passphrase import asker
        from opssight_migrate.commands import verify as command

        request = command.VerifyRequest(
            categories=tuple(test_type or ()),
            only=tuple(only or ()),
            probe=probe,
            show_sql=show_sql,
            restores=restore,
            identity=identity,
            ask=asker(no_input=shared.no_input),
            argv_hint=stage.hint,
        )
        _refuse_unknown(request)
        if list_checks:
            return _listing(command.listed(request))
        return command.verify(stage.settings, stage.profile, request, emit=stage.emit)

    stage = Stage(
        shared,
        "verify",
        log_prefix=None if list_checks else "migration_test",
        side_files=SideFiles(html=report, junit=junit),
    )
    stage.perform(work, page=_list_page if list_checks else None)


def _refuse_unknown(request: VerifyRequest) -> None:
    from opssight_migrate.checks.base import CATEGORIES
    from opssight_migrate.cli.failures import nearest
    from opssight_migrate.commands import verify as command

    known = [check_id for check_id, _, _ in command.listed()]
    for option, kind, wanted, names in (
        ("--only", "check", request.only, known),
        ("--test-type", "category", request.categories, [command.ALL, *CATEGORIES]),
    ):
        for name in wanted:
            if name not in names:
                raise UsageError(
                    f"{option}: {nearest(name, names, kind)}", hint="opssight-migrate verify --list"
                )


def _listing(checks: tuple[tuple[str, str, str], ...]) -> Report:
    from opssight_migrate.cli.failures import TOOL
    from opssight_migrate.model.report import CheckResult, Report, utc_now

    return Report(
        tool=TOOL,
        command="verify",
        status="ok",
        exit_code=0,
        started_at=utc_now(),
        duration_ms=0,
        checks=tuple(
            CheckResult(id=check_id, title=title, category=category, status="skipped", findings=0)
            for check_id, title, category in checks
        ),
    )


def _list_page(report: Report) -> list[str]:
    from opssight_migrate.render.plan_text import table

    return table([(one.id, one.category, one.title) for one in report.checks], frozenset())
