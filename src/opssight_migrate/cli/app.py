"""The command line as a whole, and the one place where an error becomes an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from opssight_migrate import __version__
from opssight_migrate.cli.verbs import VERBS, LazyGroup
from opssight_migrate.model.errors import MigrateError, Touched

PROGRAM = "opssight-migrate"


class Verbs(LazyGroup):
    """Turns every error that a verb did not show itself into lines, a document and an exit code."""

    _given: Sequence[str] = ()

    def make_context(self, info_name: str | None, args: list[str], **extra: Any) -> Any:  # type: ignore[override]
        """Parse what stands before the command."""
        self._given = tuple(args)
        with self._told():
            return super().make_context(info_name, args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the command's own options, and run it."""
        with self._told():
            return super().invoke(ctx)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise typer.Exit(_told_exit_code(error, self._given, tuple(VERBS))) from None


app = typer.Typer(
    cls=Verbs,
    name=PROGRAM,
    rich_markup_mode=None,  # no boxes, and no markup in anybody's text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take a live OpsSight database to the multi-tenant schema, and prove that nothing was lost.

    \b
    Example:
      opssight-migrate status -e staging
      opssight-migrate migrate -e staging --dry-run
    """
    del version
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


def _told_exit_code(error: BaseException, given: Sequence[str], commands: Sequence[str]) -> int:
    """Tell ``error`` in the form that was asked for, as far as that can still be made out."""
    from opssight_migrate.cli import failures
    from opssight_migrate.cli.destination import Destination, tell, wants_color
    from opssight_migrate.model.report import utc_now
    from opssight_migrate.render.jsonl import report_json
    from opssight_migrate.render.phrases import error_lines

    command = _named(error) or next((word for word in given if word in commands), PROGRAM)
    log = None
    if not failures.is_expected(error):
        log = failures.crash_log(None, "unknown", error)
    told = failures.error_of(error, command, log=log, touched=Touched.UNKNOWN)
    if isinstance(error, TyperException) and command != PROGRAM and given[0].startswith("-"):
        told = failures.misplaced(given, command)
    report = failures.report_of(told, command, utc_now())
    tell(error_lines(report), color=wants_color("auto", sys.stderr))
    form = _wanted(given, "--output", "-o") or os.environ.get("OPSSIGHT_OUTPUT")
    if form in ("json", "jsonl"):
        path = _wanted(given, "--output-file", None)
        try:
            result = Destination.open(Path(path) if path else None)
        except MigrateError:
            result = Destination.open(None)
        result.write([report.to_json() if form == "json" else report_json(report)])
        result.close()
    return report.exit_code


def _named(error: BaseException) -> str:
    """Return the command whose options were wrong, such as "backup create"; "" for none."""
    names: list[str] = []
    context = getattr(error, "ctx", None)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names)


def _wanted(given: Sequence[str], long: str, short: str | None) -> str | None:
    """Return the value of an option in words that could not be parsed as a whole."""
    found = None
    for place, word in enumerate(given):
        if word in (long, short):
            found = given[place + 1] if place + 1 < len(given) else None
        elif word.startswith(f"{long}="):
            found = word.partition("=")[2]
        elif short and word.startswith(short) and not word.startswith("--"):
            found = word.removeprefix(short)
    return found
