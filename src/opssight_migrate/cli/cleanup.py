"""``opssight-migrate cleanup``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli.migrate import DryRunOption, YesOption
from opssight_migrate.cli.options import DetailedExitcodeOption, Shared, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

_GONE = "old-release-is-gone"

ArtifactsOption = Annotated[
    bool,
    typer.Option("--artifacts", help="Broken indexes, scratch databases, old runs in the journal."),
]
ShimsOption = Annotated[
    bool, typer.Option("--shims", help="What keeps the old release working; there is no way back.")
]
ArchivesOption = Annotated[
    bool, typer.Option("--archives", help="What rollbacks archived and no migration brought home.")
]
BackupsOption = Annotated[
    bool, typer.Option("--backups", help="Old backups of this environment; the newest stay.")
]
LogsOption = Annotated[bool, typer.Option("--logs", help="Log files of this environment.")]
RetiredOption = Annotated[
    bool, typer.Option("--retired", help="Databases that rollbacks of data set aside.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All of these but --retired.")]
KeepLastOption = Annotated[
    int | None,
    typer.Option("--keep-last", metavar="N", min=1, help="Keep the newest N; the floor if less."),
]
OlderThanOption = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="DURATION", help="Retire what is older, such as 7d; else keep_days."
    ),
]
ConfirmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--confirm",
        metavar="NAME",
        help=f"Agree by the environment's name, unasked; {_GONE} agrees to --shims where"
        " pg_stat_statements cannot tell. Repeatable.",
    ),
]


@with_shared
def cleanup(
    shared: Shared,
    *,
    artifacts: ArtifactsOption = False,
    shims: ShimsOption = False,
    archives: ArchivesOption = False,
    backups: BackupsOption = False,
    logs: LogsOption = False,
    retired: RetiredOption = False,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    keep_last: KeepLastOption = None,
    older_than: OlderThanOption = None,
    yes: YesOption = False,
    confirm: ConfirmOption = None,
    detailed_exitcode: DetailedExitcodeOption = False,
) -> None:
    """Retire what nobody needs any more: a plan first, always, and a floor that always stays.

    \b
    Example:
      opssight-migrate cleanup -e staging --all --dry-run
      opssight-migrate cleanup -e staging --shims
    """
    own = {"artifacts": artifacts, "shims": shims, "archives": archives, "backups": backups}
    kinds = _kinds(everything, {**own, "logs": logs, "retired": retired})
    age = _age(older_than)
    is_gone = _GONE in (confirm or [])
    names = [name for name in confirm or [] if name != _GONE]
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
    from opssight_migrate.cli.stage import Stage, with_pending
    from opssight_migrate.settings.places import default_log_dir

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import cleanup as command

        ask = Confirmation(
            verb="Clean up",
            yes=yes,
            name=names[-1] if names else None,
            can_ask=can_be_asked(no_input=shared.no_input),
            again=_again(stage.hint, kinds, is_gone=is_gone),
            show=stage.show_plan,
        )
        request = command.CleanupRequest(
            kinds=kinds,
            dry_run=dry_run,
            keep_last=keep_last,
            older_than=age,
            release_is_gone=is_gone,
            log_dir=shared.log_dir or default_log_dir(),
            argv_hint=stage.hint,
        )
        report = command.cleanup(
            stage.settings, stage.profile, request, confirm=ask, emit=stage.emit
        )
        return with_pending(report) if dry_run and detailed_exitcode else report

    log_prefix = None if dry_run else "cleanup"
    Stage(shared, "cleanup", log_prefix=log_prefix, shows_plan=True, dry_run=dry_run).perform(work)


def _kinds(everything: bool, chosen: dict[str, bool]) -> tuple[str, ...]:
    kinds = tuple(
        kind for kind, wanted in chosen.items() if wanted or (everything and kind != "retired")
    )
    if not kinds:
        raise UsageError(
            "say what to retire: --artifacts, --shims, --archives, --backups, --logs, --retired"
            " or --all",
            hint="opssight-migrate cleanup --all --dry-run",
        )
    return kinds


def _again(hint: str, kinds: tuple[str, ...], *, is_gone: bool) -> str:
    options = " ".join(f"--{kind}" for kind in kinds)
    return f"opssight-migrate cleanup {hint} {options}" + (f" --confirm {_GONE}" if is_gone else "")


def _age(text: str | None) -> timedelta | None:
    from opssight_migrate.settings.tables import duration

    if text is None:
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="write one such as 7d or 12h") from None
