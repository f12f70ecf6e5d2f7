"""Where the process starts."""

from __future__ import annotations

import io
import sys

from opssight_migrate.cli import sigterm
from opssight_migrate.cli.app import app
from opssight_migrate.model.errors import ExitCode


def main() -> None:
    """Run the command line; no character can break a stream that has no code for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sigterm.listen()
    try:
        app(prog_name="opssight-migrate")
    except Exception as error:
        # What tells of errors cannot be imported itself: half an upgrade, a full disk.
        sys.stderr.write(
            f"error[OM700]: unexpected, in telling of an error: {type(error).__name__}: {error}\n"
            "state: not known; opssight-migrate status tells, once the installation is whole\n"
            "help:  install opssight-migrate again, then give the same command again\n"
        )
        sys.exit(ExitCode.BUG)


if __name__ == "__main__":
    main()
