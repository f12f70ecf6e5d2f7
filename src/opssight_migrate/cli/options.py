"""The options that every verb has, declared once."""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec

import typer

from opssight_migrate.cli import completion
from opssight_migrate.model.errors import UsageError

Output = Literal["text", "json", "jsonl", "github"]
Color = Literal["auto", "always", "never"]
Progress = Literal["auto", "bar", "plain", "none"]

P = ParamSpec("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the options that every verb has were set to. None means: not given."""

    environment: str | None = None
    config: Path | None = None
    output: Output = "text"
    output_file: Path | None = None
    verbose: bool = False
    quiet: bool = False
    color: Color = "auto"
    progress: Progress = "auto"
    no_input: bool = False
    log_dir: Path | None = None

    def hint(self, environment: str) -> str:
        """Return the options with which a next command finds the same database."""
        config = f" -c {shlex.quote(str(self.config))}" if self.config else ""
        return f"-e {shlex.quote(environment)}{config}"


# OPSSIGHT_ENVIRONMENT and OPSSIGHT_CONFIG are read by the settings and not by typer: what a
# variable names must never count as typed by the operator (no variable selects a protected
# environment).
EnvironmentOption = Annotated[
    str | None,
    typer.Option(
        "--environment",
        "-e",
        metavar="NAME",
        help="Work on this environment ($OPSSIGHT_ENVIRONMENT).",
        autocompletion=completion.environments,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Read this file and not the nearest opssight.toml ($OPSSIGHT_CONFIG).",
    ),
]
OutputOption = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        envvar="OPSSIGHT_OUTPUT",
        show_envvar=False,
        show_default=False,
        help="Write text, json, jsonl (events, then the document) or github ($OPSSIGHT_OUTPUT).",
    ),
]
OutputFileOption = Annotated[
    Path | None,
    typer.Option("--output-file", metavar="FILE", help="Write the result here, not to stdout."),
]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Also write the report as one HTML file."),
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell notes, statements, origins of values.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Tell errors only (and the document).")
]
ColorOption = Annotated[
    Color,
    typer.Option(
        "--color",
        metavar="WHEN",
        show_default=False,
        help="auto (heeds NO_COLOR), always or never.",
    ),
]
ProgressOption = Annotated[
    Progress,
    typer.Option(
        "--progress",
        metavar="HOW",
        envvar="OPSSIGHT_PROGRESS",
        show_envvar=False,
        show_default=False,
        help="Show it as auto, bar, plain or none, on stderr ($OPSSIGHT_PROGRESS).",
    ),
]
NoInputOption = Annotated[
    bool, typer.Option("--no-input", help="Never ask; refuse what needs an answer.")
]
LogDirOption = Annotated[
    Path | None,
    typer.Option(
        "--log-dir",
        metavar="DIR",
        envvar="OPSSIGHT_LOG_DIR",
        show_envvar=False,
        help="Write log files here ($OPSSIGHT_LOG_DIR).",
    ),
]
MetricsFileOption = Annotated[
    Path | None,
    typer.Option("--metrics-file", metavar="FILE", help="Write metrics here, for Prometheus."),
]
DetailedExitcodeOption = Annotated[
    bool,
    typer.Option("--detailed-exitcode", help="Exit 3 when there is something to do."),
]


def _shared(
    *,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
    output: OutputOption = "text",
    output_file: OutputFileOption = None,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    color: ColorOption = "auto",
    progress: ProgressOption = "auto",
    no_input: NoInputOption = False,
    log_dir: LogDirOption = None,
) -> Shared:
    return Shared(
        environment=environment,
        config=config,
        output=output,
        output_file=output_file,
        verbose=verbose,
        quiet=quiet,
        color=color,
        progress=progress,
        no_input=no_input,
        log_dir=log_dir,
    )


def seconds_of(given: str | None, option: str) -> float | None:
    """Return the seconds of a duration such as "10m".

    Raises: UsageError, if it is none.
    """
    if given is None:
        return None
    from opssight_migrate.settings.tables import duration

    try:
        return duration(given).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint=f"write {option} 10m") from None


def with_shared(command: Callable[Concatenate[Shared, P], None]) -> Callable[..., None]:
    """Add the shared options to a command, which gets them as its first argument."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    added = inspect.signature(_shared, eval_str=True).parameters

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        shared = _shared(**{name: given.pop(name) for name in added})
        command(shared, **given)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    parameters = [*own, *added.values()]
    setattr(wrapper, "__signature__", inspect.Signature(parameters))  # noqa: B010
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper
