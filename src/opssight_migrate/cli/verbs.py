"""The verbs by name; one is imported when it is asked for, so that --help and Tab are quick."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer import _completion_classes
from typer._click.shell_completion import CompletionItem
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

# In the order of --help; each is the function, or the group, of that name in its own module.
VERBS = {
    "migrate": "Take the database to the multi-tenant schema, and prove it.",
    "rollback": "Take the database back, with every row kept.",
    "cleanup": "Retire what only the old release or the way back needed.",
    "status": "Tell where the database is; reads only.",
    "verify": "Prove that nothing was lost; reads only.",
    "check": "Look for mistakes in opssight.toml and in revisions.",
    "doctor": "Look whether all is there that a run needs.",
    "init": "Write a commented opssight.toml.",
    "explain": "Say what a code means and what to do, offline.",
    "history": "Tell the runs of the database, or one in detail.",
    "backup": "Make backups, list them, see that they are whole.",
}


class Verb(TyperCommand):
    """One command. What is typed after Tab is taken as it stands: converting it costs pydantic."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options; for completion without looking at their values."""
        if not ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        given, rest, _ = self.make_parser(ctx).parse_args(args=args)
        for parameter in self.get_params(ctx):
            value, source = parameter.consume_value(ctx, given)
            ctx.set_parameter_source(parameter.name, source)
            ctx.params[parameter.name] = value
        ctx.args = rest
        return rest


class Group(TyperGroup):
    """A group of commands. A switch that nobody set is off: looking at None costs pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options before the command."""
        options: list[Any] = super().get_params(ctx)
        for one in options:
            if getattr(one, "is_flag", False) and one.default is None:
                one.default, one.show_default = False, False
        return options


class LazyGroup(Group):
    """The group whose commands are those of ``VERBS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the verb."""
        if ctx.resilient_parsing:
            # Our help has no markup: zsh and fish need no rich to show it, which is slow to load.
            setattr(_completion_classes, "_sanitize_help_text", str)  # noqa: B010
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names, without importing anything."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one verb, imported now; None if there is none of that name."""
        if cmd_name not in VERBS:
            for name in VERBS:  # it may be a typo: the suggestion is made of what is known here
                self.get_command(ctx, name)
            return None
        if cmd_name not in self.commands:
            self.add_command(_imported(cmd_name), cmd_name)
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of the verbs into --help."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer the verbs, and the options before them."""
        found = [CompletionItem(n, help=h) for n, h in VERBS.items() if n.startswith(incomplete)]
        return [*found, *super(TyperGroup, self).shell_complete(ctx, incomplete)]


def _imported(name: str) -> Any:
    found = getattr(import_module(f"opssight_migrate.cli.{name}"), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=Verb)(found)
    return get_command(alone)
