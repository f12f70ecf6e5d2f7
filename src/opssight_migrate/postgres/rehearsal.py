"""Statements of an application, tried in an OpsSight without rows; never in the operator's own.

The scratch database belongs to a role that owns nothing else, since the text of a statement may
come from a server on which others write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from psycopg import Rollback, sql

from opssight_migrate.model.errors import ConfigError, PrivilegeError, StatementError
from opssight_migrate.model.plan import Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.old_release import GROWING_TABLES, Statement, required_columns
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import chain, throwaway
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.throwaway import PREFIX as PREFIX

# A user's only new companion is the assignment that every migration leaves behind. Other foreign
# keys wait for a commit that never comes, since a sample value refers to nothing.
_WAITING_KEYS = """
SELECT conrelid::regclass::text, conname::text
  FROM pg_constraint
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT condeferrable
   AND NOT (conrelid = coalesce(to_regclass('public.user_roles'), 0)
            AND confrelid = 'public.users'::regclass)
"""
_LABELS = """
SELECT t.oid::regtype::text, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
  FROM pg_type AS t
  JOIN pg_enum AS e ON e.enumtypid = t.oid
 GROUP BY t.oid
"""
_PARAMETERS = "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = %s"
_FOREIGN_KEY_VIOLATION = "23503"
# Equal sample values met each other, in one statement or in a unique index. By then the server
# has passed what can break: the columns, NOT NULL and the index of an ON CONFLICT.
_OF_EQUAL_SAMPLES = ("21000", "23505")
_SAMPLES = {
    **dict.fromkeys(("bigint", "integer", "oid", "smallint"), "1"),
    **dict.fromkeys(("double precision", "numeric", "real"), "1"),
    **dict.fromkeys(("character", "character varying", "name", "text"), "x"),
    **dict.fromkeys(("json", "jsonb"), "{}"),
    "boolean": "true",
    "bytea": "",
    "date": "2026-01-01",
    "inet": "127.0.0.1",
    "interval": "1 day",
    "time without time zone": "12:00",
    "timestamp with time zone": "2026-01-01 00:00:00+00",
    "timestamp without time zone": "2026-01-01 00:00:00",
    "uuid": "00000000-0000-0000-0000-000000000001",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A statement that the server refused, and why; ``sqlstate`` None where it gave no code.

    FAIL: it fails whenever it is run. WARN: it fails for rows that a migration leaves behind.
    """

    statement: Statement
    sqlstate: str | None
    message: str
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What pg_stat_statements has seen; ``statements`` is None where it cannot be asked.

    ``unread`` counts texts that are hidden from our role, lost, or more than one statement.
    """

    statements: tuple[Statement, ...] | None
    unread: int
    sentence: str


@contextmanager
def scratch(cluster: Cluster, revision: str, *, with_shims: bool) -> Iterator[Session]:
    """Lend a session on an OpsSight at ``revision`` with one user and what goes with a user.

    ``with_shims``: as a migration leaves a database that was in use; else as a cleanup leaves it.
    """
    with throwaway.lent(cluster) as conninfo:
        session = throwaway.opened(conninfo)
        try:
            _build(session, revision, with_shims=with_shims)
            session.execute("SELECT set_config('statement_timeout', '2s', false)")
            yield session
        finally:
            session.close()


def rehearse(session: Session, statements: Sequence[Statement]) -> tuple[Broken, ...]:
    """Plan each statement with sample values and carry out those that write, all rolled back.

    ``session`` is that of a scratch database.
    """
    samples = _samples(session)
    broken: list[Broken] = []
    for number, statement in enumerate(statements):
        try:
            with session.writing():
                _try(session, f"rehearsed_{number}", statement, samples)
                raise Rollback
        except (StatementError, PrivilegeError) as error:
            if error.sqlstate in _OF_EQUAL_SAMPLES:
                continue
            about_rows = error.sqlstate == _FOREIGN_KEY_VIOLATION
            broken.append(
                Broken(
                    statement=statement,
                    sqlstate=error.sqlstate,
                    message=error.message,
                    severity=Severity.WARN if about_rows else Severity.FAIL,
                )
            )
    session.execute("DEALLOCATE ALL")
    return tuple(broken)


def from_file(path: Path) -> tuple[Statement, ...]:
    """Read statements that end in semicolons.

    Parameters are ``$1``, ``%(name)s``, ``%s`` or ``:name``, one style in one statement. With
    ``%``, a percent sign is written twice, as drivers want it. What stands in quotes, between
    dollar signs or in a comment is left alone.

    Raises: ConfigError, if the file cannot be read or mixes styles.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the statements cannot be read: {error}", where=str(path)) from error
    found: list[Statement] = []
    for line, pieces in _split(text):
        where = f"{path.name}:{line}"
        found.append(Statement(id=where, sql=_numbered(pieces, where), purpose=f"in {path}"))
    return tuple(found)


def from_statistics(session: Session) -> Observed:
    """Return the statements on OpsSight's tables that this server has seen, most called first.

    Only reads, in a transaction of its own. What is no query (DDL, SET, COPY) is left out.
    """
    try:
        with session.reading():
            schema = session.scalar(_STATISTICS_SCHEMA)
            if schema is None:
                return Observed(statements=None, unread=0, sentence=_NO_STATISTICS)
            view = sql.Identifier(schema, "pg_stat_statements")
            rows = session.rows(sql.SQL(_SEEN).format(view), (_MOST,))
    except (StatementError, PrivilegeError) as error:
        return Observed(statements=None, unread=0, sentence=f"pg_stat_statements: {error.message}")
    found: list[Statement] = []
    unread = 0
    for query_id, text, calls, entries in rows:
        parts = list(_split("" if text == _HIDDEN else text or ""))
        if len(parts) != 1:
            unread += entries
        elif _is_query(parts[0][1]) and _names_any(parts[0][1], TABLES_AT_START):
            name, purpose = f"query {query_id}", "in pg_stat_statements"
            found.append(Statement(id=name, sql=str(text), purpose=purpose, calls=calls))
    sentence = f"pg_stat_statements has {len(found)} statements on OpsSight's tables"
    sentence += f"; {unread} more are hidden (GRANT pg_read_all_stats)" if unread else ""
    sentence += f"; looked at were the {_MOST} most called" if len(rows) == _MOST else ""
    return Observed(statements=tuple(found), unread=unread, sentence=sentence)


def select_star(statements: Sequence[Statement]) -> tuple[Statement, ...]:
    """Return those that read all columns and name a table that will have more of them.

    Prepared at the server, each fails once in every session that is open then (0A000).
    """
    found: list[Statement] = []
    for statement in statements:
        pieces = [piece for _, part in _split(statement.sql) for piece in part]
        code = _IN_EXISTS.sub("EXISTS (SELECT 1", _code(pieces))
        if _STAR.search(code) and _names_any(pieces, GROWING_TABLES):
            found.append(statement)
    return tuple(found)


_NO_STATISTICS = "pg_stat_statements is not installed in this database, so nobody counted"
_HIDDEN = "<insufficient privilege>"
_MOST = 1000
_STATISTICS_SCHEMA = """
SELECT n.nspname::text
  FROM pg_extension AS x
  JOIN pg_namespace AS n ON n.oid = x.extnamespace
 WHERE x.extname = 'pg_stat_statements'
"""
_SEEN = """
SELECT min(s.queryid), s.query, sum(s.calls)::int8, count(*)
  FROM {} AS s
 WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
 GROUP BY s.query
 ORDER BY 3 DESC, 1
 LIMIT %s
"""
_STAR = re.compile(
    r"(?:\b(?:select(?:\s+distinct(?:\s+on\s*\([^)]*\))?)?|returning)\s+|,\s*)(?:\w+\s*\.\s*)?\*",
    re.IGNORECASE,
)
_IN_EXISTS = re.compile(r"\bexists\s*\(\s*select\s+\*", re.IGNORECASE)
_QUERY = re.compile(r"[\s(]*(?:select|insert|update|delete|with|values|merge)\b", re.IGNORECASE)

_PIECE = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?P<quoted> \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
              | \$(?P<tag>(?:[a-zA-Z_]\w*)?)\$.*?\$(?P=tag)\$ )
  | (?P<identifier> "(?:[^"]|"")*" )
  | (?P<end> ; )
  | (?P<dollar> \$\d+ )
  | (?P<percent> %(?:\((?P<percent_name>\w+)\))?s\b )
  | (?P<colon> (?<![:\w\]]) : (?P<colon_name>[a-zA-Z_]\w*) )
  | (?P<code> [^-/'"$;%:eE]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _split(text: str) -> Iterator[tuple[int, list[re.Match[str]]]]:
    """Give the pieces of each statement, with the line on which it begins."""
    pieces: list[re.Match[str]] = []
    for piece in _PIECE.finditer(text):
        if piece.lastgroup == "end":
            yield from _statement(text, pieces)
            pieces = []
        else:
            pieces.append(piece)
    yield from _statement(text, pieces)


def _statement(text: str, pieces: list[re.Match[str]]) -> Iterator[tuple[int, list[re.Match[str]]]]:
    for place, piece in enumerate(pieces):
        if piece.lastgroup != "comment" and (word := piece[0].lstrip()):
            yield text.count("\n", 0, piece.end() - len(word)) + 1, pieces[place:]
            return


def _numbered(pieces: Sequence[re.Match[str]], where: str) -> str:
    styles = {p.lastgroup for p in pieces} & {"dollar", "percent", "colon"}
    if len(styles) > 1:
        raise ConfigError(
            "a statement has parameters of more than one style", where=where, hint=_STYLES
        )
    numbers: dict[str, int] = {}
    written: list[str] = []
    for piece in pieces:
        text = piece[0]
        if piece.lastgroup in ("percent", "colon"):
            name = piece["percent_name"] or piece["colon_name"] or f" {len(numbers)}"
            text = f"${numbers.setdefault(name, len(numbers) + 1)}"
        written.append(text)
    whole = "".join(written).strip()
    return whole.replace("%%", "%") if "percent" in styles else whole


_STYLES = "write $1, %(name)s, %s or :name, and only one of them in one statement"


def _code(pieces: Sequence[re.Match[str]]) -> str:
    return "".join(p[0] for p in pieces if p.lastgroup not in ("comment", "quoted"))


def _is_query(pieces: Sequence[re.Match[str]]) -> bool:
    return _QUERY.match(_code(pieces)) is not None


def _names_any(pieces: Sequence[re.Match[str]], tables: Sequence[str]) -> bool:
    return not set(re.findall(r"\w+", _code(pieces).lower())).isdisjoint(tables)


def _try(
    session: Session, name: str, statement: Statement, samples: Mapping[str, list[str]]
) -> None:
    text = sql.SQL(cast(Any, statement.sql))
    session.execute(sql.SQL("PREPARE {} AS {}").format(sql.Identifier(name), text))
    types: list[str] = session.scalar(_PARAMETERS, (name,)) or []
    run = sql.SQL("EXECUTE {}").format(sql.Identifier(name))
    if types:
        values = sql.SQL(", ").join(sql.Literal(_sample(samples, type_)) for type_ in types)
        run += sql.SQL(" ({})").format(values)
    if _writes(session.scalar(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(run))):
        session.execute(run)


def _writes(plan: Any) -> bool:
    if isinstance(plan, Mapping):
        return plan.get("Node Type") == "ModifyTable" or any(map(_writes, plan.values()))
    return isinstance(plan, list) and any(map(_writes, plan))


def _samples(session: Session) -> dict[str, list[str]]:
    """Return values by type: the first is for statements, the last for the rows they meet."""
    plain = {type_: [value, "met" if value == "x" else value] for type_, value in _SAMPLES.items()}
    return plain | dict(session.rows(_LABELS))


def _sample(samples: Mapping[str, list[str]], type_: str, place: int = 0) -> str | None:
    if type_.endswith("[]"):
        return "{}"
    found = samples.get(re.sub(r"\(.*\)", "", type_))
    return found[place] if found else None


def build(session: Session, revision: str | None, *, is_populated: bool) -> None:
    """Bring an empty database to ``revision``, None for nowhere.

    ``is_populated``: with a user from the start, as rows are what makes the chain leave shims.
    """
    if revision is None:
        return
    drive = chain.Drive(session=session)
    if is_populated:
        chain.upgrade(drive, revisions.START)
        _add_row(session, revisions.START, "roles")
        _add_row(session, revisions.START, "users", role_id="1")
    chain.upgrade(drive, revision)


def _build(session: Session, revision: str, *, with_shims: bool) -> None:
    build(session, revision, is_populated=with_shims)
    for table in ("organizations", "roles", "users", "user_roles"):
        if table in golden(revision)["tables"] and not session.scalar(
            sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table))
        ):
            _add_row(session, revision, table)
    alterations = [
        sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED").format(
            sql.Identifier(table), sql.Identifier(name)
        )
        for table, name in session.rows(_WAITING_KEYS)
    ]
    session.execute(sql.SQL("; ").join(alterations))


def _add_row(session: Session, revision: str, table: str, **also: str) -> None:
    """Add the row with id 1, which is also the sample of an integer and so of every reference."""
    samples = _samples(session)
    values = {
        column["name"]: _sample(samples, column["type"], -1)
        for column in required_columns(golden(revision)["tables"][table])
    } | also
    session.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Literal, values.values())),
        )
    )
