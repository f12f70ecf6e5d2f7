"""SQL text, cut into statements and words: no parser, but quotes and comments are respected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*)
      | (?P<string>[eE]'(?:[^'\\]|\\.|'')*' | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")*")
      | (?P<word>[^\W\d][\w$]*)
      | (?P<number>\d[\w.]*)
      | (?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)
_DOLLAR = re.compile(r"\$([^\W\d]\w*)?\$")


@dataclass(frozen=True, slots=True)
class Token:
    """A word (kept in capitals), a quoted name, a string or a symbol, and its line from 0."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``line`` is that of its first word, from 0."""

    tokens: tuple[Token, ...]

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.tokens[0].line


def statements(text: str) -> list[Statement]:
    """Cut ``text`` at its semicolons."""
    found: list[Statement] = []
    current: list[Token] = []
    for token in tokens(text):
        if token.text == ";" and token.kind == "symbol":
            found += [Statement(tuple(current))] if current else []
            current = []
        else:
            current.append(token)
    return [*found, Statement(tuple(current))] if current else found


def tokens(text: str) -> Iterator[Token]:
    """Yield what is neither space nor comment."""
    place = line = 0
    while place < len(text):
        kind, end = _next(text, place)
        piece = text[place:end]
        if kind not in ("space", "comment"):
            yield Token(kind, piece.upper() if kind == "word" else piece, line)
        line += piece.count("\n")
        place = end


def _next(text: str, place: int) -> tuple[str, int]:
    if text.startswith("/*", place):
        return "comment", _end_of_comment(text, place)
    if opening := _DOLLAR.match(text, place):
        closing = text.find(opening[0], opening.end())
        return "string", len(text) if closing < 0 else closing + len(opening[0])
    match = _TOKEN.match(text, place)
    if match is None or match.lastgroup is None:
        return "symbol", place + 1
    return match.lastgroup, match.end()


def _end_of_comment(text: str, place: int) -> int:
    """Return where a comment ends; they nest."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[place:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return place + mark.end()
    return len(text)


class Reader:
    """Walks over tokens, a word or a name at a time."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = list(tokens)
        self._place = 0

    @property
    def rest(self) -> list[Token]:
        """What was not read yet."""
        return self._tokens[self._place :]

    def takes(self, words: str) -> bool:
        """Read these words if they come next, and tell whether they did."""
        wanted = words.split()
        following = [t.text for t in self.rest[: len(wanted)] if t.kind in ("word", "symbol")]
        if following != wanted:
            return False
        self._place += len(wanted)
        return True

    def skip(self, *choices: str) -> None:
        """Read whichever of these comes next, again and again."""
        while any(self.takes(words) for words in choices):
            pass

    def name(self) -> str | None:
        """Read a name as PostgreSQL folds it; ``public.`` is left out. None if there is none."""
        parts: list[str] = []
        while self.rest and self.rest[0].kind in ("word", "name"):
            token = self.rest[0]
            quoted = token.kind == "name"
            parts.append(token.text[1:-1].replace('""', '"') if quoted else token.text.lower())
            self._place += 1
            if not self.takes("."):
                break
        if len(parts) == 2 and parts[0] == "public":
            parts = parts[1:]
        return ".".join(parts) or None


def has(tokens: Sequence[Token], words: str) -> bool:
    """Tell whether these words stand somewhere, one behind the other, outside of quotes."""
    wanted = words.split()
    texts = [t.text if t.kind in ("word", "symbol") else "'" for t in tokens]
    return any(texts[n : n + len(wanted)] == wanted for n in range(len(texts)))


def split_at_commas(tokens: Sequence[Token]) -> list[list[Token]]:
    """Cut at the commas that stand outside of parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "symbol":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if token.text == "," and depth == 0:
                parts.append([])
                continue
        parts[-1].append(token)
    return [part for part in parts if part]
