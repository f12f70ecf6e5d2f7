"""Text of unknown origin, made harmless for a terminal, a log file and a screen reader."""

from __future__ import annotations

import unicodedata

# Control and format characters (bidirectional overrides among them), lone surrogates, and the
# two separators that some programs take for the end of a line.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return ``text`` as one line in which every control character is written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _INVISIBLE else c for c in text)


def visible_lines(text: str) -> list[str]:
    """Return ``text`` line by line, every line made ``visible``; never an empty list."""
    return [visible(line.rstrip("\r")) for line in text.split("\n")]


def sound(text: str) -> str:
    """Return ``text`` without lone surrogates (bytes of an argument that are no UTF-8)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(character: str) -> str:
    if character in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[character]
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
