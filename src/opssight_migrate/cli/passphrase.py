"""The question for a passphrase: on the terminal, without an echo, and of nobody else."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable

from pydantic import SecretStr

from opssight_migrate.cli.confirmation import can_be_asked
from opssight_migrate.model.errors import InterruptedRunError, Touched
from opssight_migrate.render.visible import visible


def asker(*, no_input: bool) -> Callable[[str], SecretStr] | None:
    """Return what asks for the passphrase of a backup; None where nobody can answer."""
    return _ask if can_be_asked(no_input=no_input) else None


def _ask(backup: str) -> SecretStr:
    """Raises: InterruptedRunError at Ctrl-C, or at the end of the input."""
    try:
        return SecretStr(getpass.getpass(f"Passphrase of {visible(backup)}: ", sys.stderr))
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\n")
        error = InterruptedRunError("interrupted at the question")
        error.touched = Touched.NOTHING
        raise error from None
