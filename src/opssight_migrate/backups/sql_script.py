"""Plain SQL of pg_dump, read as psql would read it: what psql itself would carry out is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from opssight_migrate.model.errors import UnsafeScriptError

# What plain SQL is made of, as psql's scanner sees it: names and numbers are taken whole, for a
# quote behind an E, or a dollar, means something else inside of one.
# Source: PostgreSQL 18, src/fe_utils/psqlscan.l.
_TOKEN = re.compile(
    rb"""(?P<plain>[0-9][0-9A-Za-z_.]*|\$[0-9]+)
    |(?P<opens>[eE]'|'|"|/\*|\$(?:[A-Za-z_\x80-\xff][A-Za-z_0-9\x80-\xff]*)?\$)
    |(?P<name>[A-Za-z_\x80-\xff][A-Za-z_0-9$\x80-\xff]*)
    |(?P<other>--|;|\\)""",
    re.VERBOSE,
)
_ENDS = {
    b"'": re.compile(rb"'"),
    b"e'": re.compile(rb"\\.|'", re.DOTALL),
    b'"': re.compile(rb'"'),
    b"/*": re.compile(rb"/\*|\*/"),
}
_COPY = re.compile(rb"\s*COPY\s[^;]*\sFROM\s+stdin\b[^;]*\Z", re.IGNORECASE | re.DOTALL)
_ALLOWED = re.compile(rb"\\(?:un)?restrict [0-9A-Za-z]+\s*\Z")
_CONNECT = re.compile(
    rb"""\\connect (?:-reuse-previous=on )?(?:"dbname='([^'"\\]+)'"|"?([^'"\\\s]+)"?)\s*\Z"""
)
# With these, psql and we would no longer agree on where a string ends.
_OTHER_STRINGS = re.compile(rb"standard_conforming_strings(?!\W+on\b)", re.IGNORECASE)
_OTHER_ENCODING = re.compile(
    rb"client_encoding(?!\W+(?:UTF-?8|SQL_ASCII|LATIN\d+|WIN\d+|ISO_8859_\d)\b)", re.IGNORECASE
)
_END_OF_DATA = b"\\."
_LONGEST_KEPT = 4096


def safe_lines(lines: Iterable[bytes], database: str) -> Iterator[bytes]:
    """Return the lines for psql, those left out that it does not need.

    A line that begins with a backslash is refused, but for the end of data, ``\\restrict``,
    ``\\unrestrict``, and ``\\connect`` to ``database`` itself; so is a backslash anywhere else
    outside of strings, comments and data.

    Raises: UnsafeScriptError, with the number of the line.
    """
    reader = _Reader(database)
    for number, line in enumerate(lines, start=1):
        if reader.takes(line, number):
            yield line
    if reader.inside or reader.is_data or reader.statement.strip():
        raise UnsafeScriptError(
            "the file ends in the middle of a statement: it is not whole",
            hint="take another backup: opssight-migrate backup list",
        )


class _Reader:
    """Where psql would be: in a string, a comment, data, or a statement so far."""

    def __init__(self, database: str) -> None:
        self.database = database.encode()
        self.inside: bytes = b""
        self.depth = 0
        self.is_data = False
        self.statement = b""

    def takes(self, line: bytes, number: int) -> bool:
        """Read a line; return whether it goes on to psql."""
        if self.is_data:
            self.is_data = line.rstrip(b"\r\n") != _END_OF_DATA
            return True
        if not self.inside and line.startswith(b"\\"):
            return self._command(line, number)
        if not self.inside and (_OTHER_STRINGS.search(line) or _OTHER_ENCODING.search(line)):
            raise _unsafe(number, "changes how strings are read", line)
        self.is_data = self._statements(line, number)
        return True

    def _statements(self, line: bytes, number: int) -> bool:
        """Read what is neither data nor a command; return whether data follows the line."""
        place, begins_data = 0, False
        while place < len(line):
            if self.inside:
                place = self._to_the_end(line, place)
                continue
            found = _TOKEN.search(line, place)
            has_meaning = found is not None and found.lastgroup in ("opens", "other")
            if found is None:
                self._keep(line[place:])
                break
            self._keep(line[place : found.start() if has_meaning else found.end()])
            place = found.end()
            if not has_meaning:
                continue
            if found["opens"]:
                self.inside, self.depth = found[0].replace(b"E'", b"e'"), 1
                self._keep(b" " if self.inside == b"/*" else b"''")
            elif found[0] == b";":
                begins_data = begins_data or bool(_COPY.match(self.statement))
                self.statement = b""
            elif found[0] == b"--":
                break
            else:
                raise _unsafe(number, "holds a command of psql", line)
        return begins_data

    def _keep(self, text: bytes) -> None:
        if len(self.statement) < _LONGEST_KEPT:
            self.statement += text

    def _to_the_end(self, line: bytes, place: int) -> int:
        """Return where the string or comment ends, or the line does."""
        if self.inside.startswith(b"$"):
            at = line.find(self.inside, place)
            if at < 0:
                return len(line)
            end = at + len(self.inside)
            self.inside = b""
            return end
        found = _ENDS[self.inside].search(line, place)
        if found is None:
            return len(line)
        if found[0] == b"/*":
            self.depth += 1
        elif not found[0].startswith(b"\\"):
            self.depth -= 1
            self.inside = self.inside if self.depth else b""
        return found.end()

    def _command(self, line: bytes, number: int) -> bool:
        connects = _CONNECT.match(line)
        if connects and (connects[1] or connects[2]) == self.database:
            return False
        if _ALLOWED.match(line):
            return False
        what = "connects to another database" if connects else "is a command of psql"
        raise _unsafe(number, what, line)


def _unsafe(number: int, what: str, line: bytes) -> UnsafeScriptError:
    shown = line.strip()[:60].decode(errors="replace")
    return UnsafeScriptError(
        f"line {number} {what}: {shown}",
        where=f"line {number}",
        hint="a dump of pg_dump has no such line; take it out, or dump again with pg_dump -Fc",
    )
