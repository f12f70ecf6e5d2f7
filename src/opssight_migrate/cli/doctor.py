"""``opssight-migrate doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opssight_migrate.cli.options import Shared, with_shared

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report


@with_shared
def doctor(shared: Shared) -> None:
    """Look whether everything is there that a run needs, and say how to mend what is not.

    \b
    Example:
      opssight-migrate doctor -e staging
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import doctor as command
        from opssight_migrate.settings.places import default_log_dir

        return command.doctor(
            stage.settings,
            stage.profile,
            log_dir=shared.log_dir or default_log_dir(),
            emit=stage.emit,
            argv_hint=stage.hint,
        )

    def page(report: Report) -> list[str]:
        from opssight_migrate.render.report_text import looked_at_lines

        return looked_at_lines(report, stage.profile.origin)

    stage = Stage(shared, "doctor")
    stage.perform(work, page=page)
