"""``opssight-migrate backup create | list | verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import Shared, with_shared
from opssight_migrate.cli.verbs import Group, Verb

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

backup = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    help="""Make backups of a database, list them, and see that they are whole.

    \b
    Example:
      opssight-migrate backup create -e staging
    """,
    no_args_is_help=True,
)

ProveOption = Annotated[
    bool,
    typer.Option(
        "--prove", help="Restore it into a scratch database as it is made, and compare each table."
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", help="List the backups of every environment on this shelf.")
]
FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="The backup to look at; by default the newest.",
        autocompletion=completion.backups,
    ),
]
RestoreOption = Annotated[
    bool,
    typer.Option("--restore", help="Restore it into a scratch database and compare each table."),
]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="Open the seal with the age or ssh key here."),
]


@backup.command(cls=Verb)
@with_shared
def create(shared: Shared, *, prove: ProveOption = False) -> None:
    """Dump the database, seal the dump as it streams, and describe it in a manifest.

    \b
    Example:
      opssight-migrate backup create -e staging --prove
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import backup as command

        return command.create(
            stage.settings,
            stage.profile,
            proves=prove,
            emit=stage.emit,
            argv_hint=stage.hint,
        )

    Stage(shared, "backup create", log_prefix="backup").perform(work)


@backup.command("list", cls=Verb)
@with_shared
def list_(shared: Shared, *, every_environment: AllOption = False) -> None:
    """List the backups on the shelf, newest first, without connecting to anything.

    \b
    Example:
      opssight-migrate backup list -e staging
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import backup as command

        return command.listed(stage.profile, every_environment=every_environment)

    Stage(shared, "backup list").perform(work, page=_page)


@backup.command(cls=Verb)
@with_shared
def verify(
    shared: Shared,
    *,
    path: FileArgument = None,
    restore: RestoreOption = False,
    identity: IdentityOption = None,
) -> None:
    """See that a backup is still what was written: size, SHA-256, seal and, if asked, its rows.

    \b
    Example:
      opssight-migrate backup verify -e staging --identity key.txt --restore
    """
    from opssight_migrate.cli.stage import Stage

    def work(stage: Stage) -> Report:
        from opssight_migrate.cli.passphrase import asker
        from opssight_migrate.commands import backup as command

        request = command.VerifyRequest(
            path=path,
            identity=identity,
            restores=restore,
            ask=asker(no_input=shared.no_input),
            argv_hint=stage.hint,
        )
        return command.verify(stage.profile, request, emit=stage.emit)

    Stage(shared, "backup verify").perform(work, page=_page)


def _page(report: Report) -> list[str]:
    from opssight_migrate.render.backup_text import backup_lines

    return backup_lines(report)
