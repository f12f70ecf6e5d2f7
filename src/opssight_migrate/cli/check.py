"""``opssight-migrate check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import Shared, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PART",
        help="Look at configuration, chain or hazards, and at nothing else. Repeatable.",
        autocompletion=completion.parts,
    ),
]
LocationOption = Annotated[
    Path | None,
    typer.Option(
        "--script-location",
        metavar="DIR",
        help="Look at this Alembic folder, not at the one that pyproject.toml names.",
    ),
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base", metavar="REF", help="Look at the chain as merged with this branch of git."
    ),
]
JunitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit's XML here too.")
]
ChecksumsOption = Annotated[
    bool,
    typer.Option(
        "--write-checksums", help="Call all revisions published: an edit is a finding from now on."
    ),
]


@with_shared
def check(
    shared: Shared,
    *,
    only: OnlyOption = None,
    script_location: LocationOption = None,
    base: BaseOption = None,
    junit: JunitOption = None,
    write_checksums: ChecksumsOption = False,
) -> None:
    """Look for mistakes in the configuration and the revisions, without a database.

    \b
    Example:
      opssight-migrate check --base origin/main
    """
    from opssight_migrate.cli.failures import nearest
    from opssight_migrate.cli.side_files import SideFiles
    from opssight_migrate.cli.stage import Stage

    def work(_: Stage) -> Report:
        from opssight_migrate.commands import check as command

        for wanted in only or ():
            if wanted not in command.PARTS:
                raise UsageError(f"--only: {nearest(wanted, list(command.PARTS), 'part')}")
        return command.check(
            command.CheckRequest(
                only=tuple(only or ()),
                location=script_location,
                base=base,
                config=shared.config,
                write_checksums=write_checksums,
            )
        )

    files = SideFiles(junit=junit)
    Stage(shared, "check", needs_profile=False, side_files=files).perform(work, page=_as_text)


def _as_text(report: Report) -> list[str]:
    from opssight_migrate.render.report_text import located_lines, summary_lines

    listed = [line for one in report.diagnostics for line in located_lines(one)]
    return [*listed, *summary_lines(report.model_copy(update={"diagnostics": ()}))]
