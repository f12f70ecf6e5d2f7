"""Where the result goes: stdout, or a file that only its owner can read."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from opssight_migrate.model.errors import UsageError
from opssight_migrate.render.folding import folded


class Destination:
    """Takes whole lines. A reader that went away (``| head``) is no reason to fail."""

    def __init__(self, stream: TextIO, *, is_file: bool = False) -> None:
        self._stream = stream
        self._is_file = is_file
        self._is_gone = False

    @classmethod
    def open(cls, path: Path | None, option: str = "--output-file") -> Destination:
        """Open ``path`` for writing, or take stdout for None.

        Raises: UsageError, before anything else is done, if the file cannot be written.
        """
        if path is None:
            return cls(sys.stdout)
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            if stat.S_ISREG(os.fstat(number).st_mode):
                os.fchmod(number, 0o600)  # the file may have been there, and open to others
        except OSError as error:
            raise UsageError(
                f"{option}: cannot write {path}: {error.strerror}",
                hint="name a file in a directory that you may write to",
            ) from None
        stream = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace")
        return cls(stream, is_file=True)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody is looking at it."""
        return not self._is_file and self._stream.isatty()

    def write(self, lines: Iterable[str]) -> None:
        """Write lines and let them be read at once."""
        if self._is_gone:
            return
        try:
            self._stream.writelines(line + "\n" for line in lines)
            self._stream.flush()
        except BrokenPipeError:
            self._is_gone = True
            _redirect_to_nothing(self._stream)

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._is_file:
            self._stream.close()


def tell(lines: Iterable[str], *, color: bool = False) -> None:
    """Write lines to stderr, where nobody may be listening any more; folded on a terminal."""
    try:
        if sys.stderr.isatty():
            lines = fitted(lines)
        sys.stderr.writelines((painted(line) if color else line) + "\n" for line in lines)
        sys.stderr.flush()
    except BrokenPipeError:
        _redirect_to_nothing(sys.stderr)


_LABELS = {
    "error": "31;1",
    "blocked": "31;1",
    "warning": "35;1",  # yellow cannot be read on white
    "note": "2",
    "where": "2",
    "state": "2",
    "help": "1",
    "next": "1",
}


def fitted(lines: Iterable[str]) -> list[str]:
    """Fold lines to the width of the terminal."""
    columns = shutil.get_terminal_size().columns
    return [piece for line in lines for piece in folded(line, columns)]


def painted(line: str) -> str:
    """Return ``line`` with its label, if it begins with one, in colour."""
    label, colon, rest = line.partition(":")
    style = _LABELS.get(label.partition("[")[0].strip())
    if not colon or style is None:
        return line
    return f"\x1b[{style}m{label}:\x1b[0m{rest}"


def wants_color(choice: str, stream: TextIO) -> bool:
    """Tell whether to colour ``stream``: as asked, else on a terminal without NO_COLOR."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _redirect_to_nothing(stream: TextIO) -> None:
    """Give the descriptor a reader, lest the interpreter fails again when it flushes at exit."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
