"""Long lines on a terminal: broken between words, where the terminal would break them anywhere."""

from __future__ import annotations

import re
import textwrap

_A_PATH = re.compile(r"\S+: \S+$")
_COLUMN = re.compile(r"(?<=\S) {2,}(?=\S)")
_ROOM_FOR_A_COLUMN = 30


def folded(line: str, columns: int) -> list[str]:
    """Return ``line`` in pieces that fit into ``columns``; words and what is copied stay whole."""
    if len(line) <= columns or line.lstrip().startswith("help:") or _A_PATH.match(line):
        return [line]
    if line.startswith("next:"):
        command, gap, reason = line.rpartition("  (")
        return [command, f"  ({reason}"] if gap else [line]
    ends = [gap.end() for gap in _COLUMN.finditer(line)]
    if not ends:
        return [line] if line.startswith(" ") else _by_words(line, columns, 2)  # SQL is indented
    if columns - ends[-1] >= _ROOM_FOR_A_COLUMN:
        return _by_words(line, columns, ends[-1])
    head = line[: ends[-1]].rstrip()
    if len(head) > columns:
        return _by_words(line, columns, 2)
    # The last column gets lines of its own, below the second one.
    indent = ends[0] if len(ends) > 1 and ends[0] < columns // 2 else _margin(line) + 2
    return [head, *_by_words(" " * indent + line[ends[-1] :], columns, indent)]


def _by_words(line: str, columns: int, indent: int) -> list[str]:
    return textwrap.wrap(
        line,
        columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())
