"""``opssight-migrate explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from opssight_migrate.cli import completion
from opssight_migrate.cli.options import Shared, with_shared

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

CodeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CODE",
        help="A code such as OM402, or a rule of check; without one all are listed.",
        autocompletion=completion.codes,
    ),
]
SchemaOption = Annotated[
    bool,
    typer.Option("--schema", help="Print the JSON Schema of the document that -o json writes."),
]


@with_shared
def explain(shared: Shared, *, code: CodeArgument = None, schema: SchemaOption = False) -> None:
    """Say what an error code means and what to do about it, without a connection.

    \b
    Example:
      opssight-migrate explain OM402
    """
    from opssight_migrate.cli.stage import Stage

    def work(_: Stage) -> Report:
        from opssight_migrate.commands import explain as command

        return command.explain(code)

    if schema:
        from opssight_migrate.cli.destination import Destination
        from opssight_migrate.model.schema import schema_text

        result = Destination.open(shared.output_file)
        result.write([schema_text().rstrip("\n")])
        result.close()
        return
    Stage(shared, "explain", needs_profile=False).perform(work, page=_page)


def _page(report: Report) -> list[str]:
    from opssight_migrate.render.plan_text import table
    from opssight_migrate.render.visible import visible

    if len(report.diagnostics) > 1:
        return table([(one.code or "", one.message) for one in report.diagnostics], frozenset())
    lines: list[str] = []
    for told in report.diagnostics:
        lines.append(f"{told.code}: {told.message}")
        lines += [f"state: {told.state}"] if told.state else []
        lines.append(f"help:  {told.hint}")
    return [visible(line) for line in lines]
