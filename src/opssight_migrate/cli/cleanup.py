"""``opssight-migrate cleanup``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli.migrate import DryRunOption, YesOption
from opssight_migrate.cli.options import DetailedExitcodeOption, Shared, seconds_of, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

_GONE = "old-release-is-gone"

ArtifactsOption = Annotated[
    bool,
    typer.Option("--artifacts", help="Broken indexes, scratch databases, old runs."),
]
ShimsOption = Annotated[
    bool, typer.Option("--shims", help="What the old release needs; no way back.")
]
ArchivesOption = Annotated[
    bool, typer.Option("--archives", help="Archives that no migration brought home.")
]
BackupsOption = Annotated[bool, typer.Option("--backups", help="Old backups; the newest stay.")]
LogsOption = Annotated[bool, typer.Option("--logs", help="Old log files.")]
RetiredOption = Annotated[
    bool, typer.Option("--retired", help="Databases that data rollbacks set aside.")
]
ChunksOption = Annotated[
    bool,
    typer.Option(
        "--chunks",
        help="Compress and split the chunks that were tables; a rollback copies rows then.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All but --retired and --chunks.")]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="DURATION",
        help="With --chunks: split while everybody waits, so long at the most.",
    ),
]
KeepLastOption = Annotated[
    int | None,
    typer.Option("--keep-last", metavar="N", min=1, help="Keep the newest N; the floor if less."),
]
OlderThanOption = Annotated[
    str | None,
    typer.Option("--older-than", metavar="DURATION", help="Retire what is older, such as 7d."),
]
ConfirmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--confirm",
        metavar="NAME",
        help=f"Agree by the environment's name; {_GONE} agrees to --shims where nobody counts"
        " statements. Repeatable.",
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
    chunks: ChunksOption = False,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    keep_last: KeepLastOption = None,
    older_than: OlderThanOption = None,
    window: WindowOption = None,
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
    kinds = _kinds(everything, {**own, "logs": logs, "retired": retired, "chunks": chunks})
    age, window_s = _age(older_than), _window(window, is_given=chunks)
    is_gone, name = _agreed(confirm or [])
    from opssight_migrate.cli.confirmation import Confirmation, can_be_asked
    from opssight_migrate.cli.stage import Stage, with_pending
    from opssight_migrate.settings.places import default_log_dir

    def work(stage: Stage) -> Report:
        from opssight_migrate.commands import cleanup as command

        request = command.CleanupRequest(
            kinds=kinds,
            dry_run=dry_run,
            keep_last=keep_last,
            older_than=age,
            release_is_gone=is_gone,
            log_dir=shared.log_dir or default_log_dir(),
            window_s=window_s,
            argv_hint=stage.hint,
        )
        ask = Confirmation(
            verb="Clean up",
            yes=yes,
            name=name,
            can_ask=can_be_asked(no_input=shared.no_input),
            again=f"opssight-migrate cleanup {stage.hint} {request.options}",
            show=stage.show_plan,
        )
        done = command.cleanup(stage.settings, stage.profile, request, confirm=ask, emit=stage.emit)
        return with_pending(done) if dry_run and detailed_exitcode else done

    prefix = None if dry_run else "cleanup"
    Stage(shared, "cleanup", log_prefix=prefix, shows_plan=True, dry_run=dry_run).perform(work)


def _agreed(confirm: list[str]) -> tuple[bool, str | None]:
    """Tell whether the old release is said to be gone, and which environment is agreed to."""
    names = [name for name in confirm if name != _GONE]
    return _GONE in confirm, names[-1] if names else None


def _kinds(everything: bool, chosen: dict[str, bool]) -> tuple[str, ...]:
    kinds = tuple(
        kind
        for kind, wanted in chosen.items()
        if wanted or (everything and kind not in ("retired", "chunks"))
    )
    if not kinds:
        raise UsageError(
            "say what to retire: --artifacts, --shims, --archives, --backups, --logs, --retired,"
            " --chunks or --all",
            hint="opssight-migrate cleanup --all --dry-run",
        )
    return kinds


def _window(text: str | None, *, is_given: bool) -> float | None:
    if text is not None and not is_given:
        raise UsageError(
            "--window is for --chunks", hint="opssight-migrate cleanup --chunks --window 1m"
        )
    return seconds_of(text, "--window")


def _age(text: str | None) -> timedelta | None:
    from opssight_migrate.settings.tables import duration

    if text is None:
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}", hint="write one such as 7d or 12h") from None
