"""A session that writes down what it is told to execute, as text that a person can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

import psycopg

from opssight_migrate.postgres.session import Row, Session

Note = Callable[[str], None]

BEGIN, COMMIT, ROLLBACK = "BEGIN;", "COMMIT;", "ROLLBACK;"
# What only a run knows: where its last batch ended, and how many rows the next one takes.
_PLACEHOLDERS = {"after": ":after", "limit": ":limit"}
_ONLY_LOOKS = re.compile(r"\s*(SELECT|SHOW|VALUES|EXPLAIN)\b", re.IGNORECASE)
_LOCK_TIMEOUT = re.compile(r"set_config\('lock_timeout'")
_WITH = re.compile(r"\s*WITH\b", re.IGNORECASE)
_WRITES = re.compile(r"\b(INSERT\s+INTO|UPDATE|DELETE\s+FROM)\b", re.IGNORECASE)
_OF_THE_JOURNAL = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|WITH)\b.*\bopssight_migrate\.", re.IGNORECASE | re.DOTALL
)


class RecordingSession(Session):
    """Tells ``note`` each statement that changes something, once the server has taken it.

    BEGIN and COMMIT, or ROLLBACK, stand around what is one transaction. Left out are statements
    that only look, and the rows of the journal.
    """

    def __init__(self, connection: psycopg.Connection[Row], note: Note) -> None:
        super().__init__(connection)
        self._note = note
        self._is_reading = False
        connection.cursor_factory = _cursor_that_tells(self._heard)

    @contextmanager
    def writing(self, *, one_snapshot: bool = False) -> Iterator[None]:
        """Hold one transaction, and write down where it begins and ends."""
        self._note(BEGIN)
        try:
            with super().writing(one_snapshot=one_snapshot):
                yield
        except BaseException:
            self._note(ROLLBACK)
            raise
        self._note(COMMIT)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one READ ONLY snapshot, of which nothing is written down."""
        self._is_reading = True
        try:
            with super().reading():
                yield
        finally:
            self._is_reading = False

    def _heard(self, query: Any, params: Any) -> None:
        if self._is_reading:
            return
        given = params
        if isinstance(params, Mapping) and "after" in params:
            given = dict(params) | {name: f"\x01{name}" for name in _PLACEHOLDERS}
        text = psycopg.ClientCursor(self.connection).mogrify(query, given)
        for name, shown in _PLACEHOLDERS.items():
            text = re.sub(rf"\s?E?'(\\x01|\\001|\x01){name}'", f" {shown}", text)
        if is_shown(text):
            self._note(f"{dedent(text).strip().rstrip(';')};")


def is_shown(text: str) -> bool:
    """Tell whether a statement changes something, and not only the journal's rows."""
    if _OF_THE_JOURNAL.match(text):
        return False
    if _ONLY_LOOKS.match(text):
        return _LOCK_TIMEOUT.search(text) is not None
    return not _WITH.match(text) or _WRITES.search(text) is not None


def _cursor_that_tells(heard: Callable[[Any, Any], None]) -> type[psycopg.Cursor[Row]]:
    class Telling(psycopg.Cursor[Row]):
        """A cursor that tells what it executed."""

        def execute(self, query: Any, params: Any = None, **how: Any) -> Any:
            """Execute, and tell."""
            done = super().execute(query, params, **how)
            heard(query, params)
            return done

    return Telling
