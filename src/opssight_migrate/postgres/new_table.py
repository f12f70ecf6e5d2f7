"""A table that a revision makes, as the SQL text that makes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

_FOREIGN_KEY = re.compile(r"(\w+) integer(?: NOT NULL)? REFERENCES (\w+)")
_LETTERS = "abcdefghijklmnopqrstuvwxyz_"


@dataclass(frozen=True, slots=True)
class NewTable:
    """A table that a revision makes: its name, and CREATE TABLE with its indexes as one text."""

    name: str
    statements: LiteralString

    @property
    def foreign_keys(self) -> tuple[tuple[str, str], ...]:
        """Each column that points at another table's id, with that table."""
        return tuple(_FOREIGN_KEY.findall(self.statements))

    @property
    def without_foreign_keys(self) -> sql.SQL:
        """The statements but for the foreign keys, so that they lock no other table."""
        first, *rest = self.statements.split(" REFERENCES ")
        return sql.SQL("".join([first, *(part.lstrip(_LETTERS) for part in rest)]))


def tables_of(statements: LiteralString) -> tuple[NewTable, ...]:
    """Cut SQL text into its tables: one a paragraph, CREATE TABLE first, its indexes after."""
    paragraphs: list[LiteralString] = statements.strip().split("\n\n")
    return tuple(NewTable(text.split()[2], text) for text in paragraphs)
