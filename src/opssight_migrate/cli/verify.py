"""``opssight-migrate verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli.options import Shared, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ID", help="Run this check and no other. Repeatable."),
]
ListOption = Annotated[
    bool, typer.Option("--list", help="List the checks, and connect to nothing.")
]


@with_shared
def verify(shared: Shared, *, only: OnlyOption = None, list_checks: ListOption = False) -> None:
    """Check that the database is what it should be, and change nothing.

    \b
    Example:
      opssight-migrate verify -e staging
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.cli.failures import nearest
        from opssight_migrate.commands import verify as command

        known = [check_id for check_id, _, _ in command.listed()]
        for wanted in only or ():
            if wanted not in known:
                raise UsageError(
                    f"--only: {nearest(wanted, known, 'check')}",
                    hint="opssight-migrate verify --list",
                )
        if list_checks:
            return _listing(command.listed())
        return command.verify(
            stage.settings,
            stage.profile,
            only=tuple(only or ()),
            emit=stage.emit,
            argv_hint=stage.hint,
        )

    stage = Stage(shared, "verify", log_prefix=None if list_checks else "migration_test")
    stage.perform(work, page=_list_page if list_checks else None)


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
