"""``opssight-migrate status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opssight_migrate.cli.options import DetailedExitcodeOption, Shared, with_shared

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report


@with_shared
def status(shared: Shared, *, detailed_exitcode: DetailedExitcodeOption = False) -> None:
    """Say where the database is, what is still to do, and how the last run went.

    \b
    Example:
      opssight-migrate status -e staging
    """
    from opssight_migrate.cli.stage import Stage, with_pending

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import status as command

        report = command.status(
            stage.settings, stage.profile, emit=stage.emit, argv_hint=stage.hint
        )
        return with_pending(report) if detailed_exitcode else report

    Stage(shared, "status").perform(work)
