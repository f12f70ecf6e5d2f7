"""``opssight-migrate history``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import Shared, with_shared

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="Tell this run in detail.", autocompletion=completion.runs),
]
LimitOption = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, help="Tell so many runs, the newest first.")
]


@with_shared
def history(shared: Shared, *, run: RunArgument = None, limit: LimitOption = 20) -> None:
    """Tell what was run on the database, by whom, and how it ended.

    \b
    Example:
      opssight-migrate history -e staging
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import history as command

        return command.history(
            stage.profile, run_id=run, limit=limit, emit=stage.emit, argv_hint=stage.hint
        )

    Stage(shared, "history").perform(work, page=_page)


def _page(report: Report) -> list[str]:
    from opssight_migrate.render.history_text import history_lines

    return history_lines(report)
