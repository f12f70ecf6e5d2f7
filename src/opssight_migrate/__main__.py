"""Where the process starts."""

from __future__ import annotations

import io
import sys

from opssight_migrate.cli import sigterm
from opssight_migrate.cli.app import app


def main() -> None:
    """Run the command line; no character can break a stream that has no code for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sigterm.listen()
    app(prog_name="opssight-migrate")


if __name__ == "__main__":
    main()
