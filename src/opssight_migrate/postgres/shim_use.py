"""Who still needs the shims: statements that pg_stat_statements saw since its last reset."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.opssight import shims
from opssight_migrate.postgres.session import Session

_WHERE = """
SELECT n.nspname::text
  FROM pg_extension AS x JOIN pg_namespace AS n ON n.oid = x.extnamespace
 WHERE x.extname = 'pg_stat_statements'
"""
# Unknown where the library is not loaded; "none" where it was told to count nothing.
_COUNTED = "SELECT coalesce(current_setting('pg_stat_statements.track', true), 'none')"
_INSERTS = """
SELECT s.query, sum(s.calls)::int8
  FROM {} AS s
 WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (s.query ILIKE '%%insert%%' OR s.query = %s OR s.query IS NULL)
 GROUP BY 1 ORDER BY 2 DESC
"""
_HIDDEN = "<insufficient privilege>"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_INSERT = re.compile(
    r"""\binsert\s+into\s+(?:(?:"?\w+"?)\s*\.\s*)?"?(?P<table>\w+)"?
        (?:\s+as\s+"?\w+"?)?\s*(?:\((?P<columns>[^()]*)\))?""",
    re.IGNORECASE | re.VERBOSE,
)
_CONFLICT = re.compile(r'\bon\s+conflict\s*\(\s*"?(?P<column>\w+)"?\s*\)', re.IGNORECASE)
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A statement that would fail without a shim, or whose text our role may not see."""

    shim: str | None
    sql: str
    calls: int

    @property
    def sentence(self) -> str:
        """Say what was seen."""
        if self.shim is None:
            return f"{self.calls:,} calls of statements that are hidden from this role"
        text = " ".join(self.sql.split())
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        return f"{shown} needs {self.shim}, called {self.calls:,} times since the last reset"


def observed(session: Session, standing: frozenset[str]) -> tuple[Use, ...] | None:
    """Return the statements that use one of the ``standing`` shims; None if nobody counted.

    Raises: StatementError where the extension is there and cannot be asked.
    """
    schema = session.scalar(_WHERE)
    if schema is None or session.scalar(_COUNTED) == "none":
        return None
    view = sql.Identifier(schema, "pg_stat_statements")
    found: list[Use] = []
    hidden = 0
    for text, calls in session.rows(sql.SQL(_INSERTS).format(view), (_HIDDEN,)):
        if text is None or text == _HIDDEN:
            hidden += int(calls)
            continue
        used = sorted(name for name in uses(text) if name in standing)
        found += [Use(shim=name, sql=text, calls=int(calls)) for name in used]
    if hidden:
        found.append(Use(shim=None, sql="", calls=hidden))
    return tuple(found)


def uses(text: str) -> Iterator[str]:
    """Name the shims without which a statement would fail.

    An INSERT that lists no columns leaves out those that it does not know of.
    """
    code = _COMMENT.sub(" ", text)
    inserts = list(_INSERT.finditer(code))
    for found in inserts:
        listed = found["columns"]
        names = {name.strip().strip('"').lower() for name in (listed or "").split(",")}
        for default in shims.DEFAULTS:
            if default.table == found["table"].lower() and default.column not in names:
                yield default.name
    columns = {found["column"].lower() for found in _CONFLICT.finditer(code)}
    tables = {found["table"].lower() for found in inserts}
    for unique in shims.ONCE_UNIQUE:
        if unique.table in tables and unique.column in columns:
            yield unique.name
