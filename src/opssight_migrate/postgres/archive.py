"""Archives: schemas beside ``public`` that keep what a rollback took out of it.

Each names its contents in a table of its own, so that it can be read, dumped and brought home
without the journal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from opssight_migrate.postgres import references
from opssight_migrate.postgres.references import ForeignKey
from opssight_migrate.postgres.session import Session

PREFIX = "opssight_archive_"
CONTENTS = "archive_contents"

_OWNER = "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass(%s)"
_SCHEMA_EXISTS = "SELECT to_regnamespace(quote_ident(%s)) IS NOT NULL"
_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}"
_CREATE_CONTENTS = """
CREATE TABLE IF NOT EXISTS {contents} (
    kind text NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    detail jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, name)
)
"""
# An archive that we may not read is one that we must not take for empty: see unreadable().
_SCHEMAS = """
SELECT n.nspname::text,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  FROM pg_namespace AS n
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'archive_contents'
 WHERE starts_with(n.nspname, 'opssight_archive_')
 ORDER BY 1
"""
_ENTRIES = "SELECT kind, name, state, detail, at FROM {} ORDER BY at, kind, name"
_LISTED = """
INSERT INTO {} (kind, name, state, detail) VALUES (%s, %s, %s, %s::jsonb)
    ON CONFLICT (kind, name)
    DO UPDATE SET state = EXCLUDED.state, detail = EXCLUDED.detail, at = clock_timestamp()
"""
_FORGOTTEN = "DELETE FROM {} WHERE kind = %s AND name = %s"
_TYPE_IN_USE = """
SELECT EXISTS (SELECT FROM pg_attribute AS a
                 JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
                WHERE a.atttypid = to_regtype('public.' || quote_ident(%s)) AND NOT a.attisdropped)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that an archive keeps.

    ``kind`` is table, type, column (its values, as rows of key and value) or orphans (rows whose
    parent was deleted before they could come home). A table is ``archived``, or ``home`` while
    its foreign keys are still being made again; everything else is ``archived``.
    """

    schema: str
    kind: str
    name: str
    state: str
    detail: dict[str, Any]
    at: datetime

    @property
    def relation(self) -> str | None:
        """The table of the archive that holds the rows, None for a type."""
        if self.kind == "type" or self.state == "home":
            return None
        return f"{self.name}__orphans" if self.kind == "orphans" else self.name.replace(".", "__")

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """What a table was let go of."""
        return tuple(ForeignKey.from_json(one) for one in self.detail.get("foreign_keys", ()))


def name_for(run_id: str) -> str:
    """Return the name of a run's archive."""
    return PREFIX + run_id


def is_there(session: Session, schema: str) -> bool:
    """Tell whether a schema exists."""
    return bool(session.scalar(_SCHEMA_EXISTS, (schema,)))


def entries(session: Session) -> tuple[Entry, ...]:
    """Return what all archives keep that this role may read, oldest first."""
    found = [
        Entry(schema=schema, kind=kind, name=name, state=state, detail=detail, at=at)
        for schema, readable in session.rows(_SCHEMAS)
        if readable
        for kind, name, state, detail, at in session.rows(sql.SQL(_ENTRIES).format(_of(schema)))
    ]
    return tuple(sorted(found, key=lambda entry: entry.at))


def unreadable(session: Session) -> tuple[str, ...]:
    """Name the archives that this role may not read."""
    return tuple(schema for schema, readable in session.rows(_SCHEMAS) if not readable)


def named(session: Session, kind: str, name: str) -> tuple[Entry, ...]:
    """Return the entries of one kind and name, oldest first."""
    return tuple(one for one in entries(session) if (one.kind, one.name) == (kind, name))


def rows_of(session: Session, entry: Entry) -> int:
    """Count the rows that an entry keeps; 0 for a type."""
    if entry.relation is None:
        return 0
    table = sql.Identifier(entry.schema, entry.relation)
    return int(session.scalar(sql.SQL("SELECT count(*) FROM {}").format(table)))


def make(session: Session, schema: str) -> None:
    """Make an archive, unless it is there, in the hands of the owner of ``public.users``."""
    if not is_there(session, schema):
        owner = sql.Identifier(session.scalar(_OWNER, ("public.users",)))
        session.execute(sql.SQL(_CREATE_SCHEMA).format(schema=sql.Identifier(schema), owner=owner))
        contents = sql.SQL(_CREATE_CONTENTS).format(contents=_of(schema))
        session.execute(contents)
        session.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(_of(schema), owner))


def keep_table(session: Session, schema: str, table: str) -> None:
    """Move a table out of ``public``, in the caller's transaction and under its locks.

    Indexes and the owned sequence follow by themselves; foreign keys to other tables would hold
    up their deletes, so they are let go and remembered.
    """
    make(session, schema)
    keys = {key.name: key for key in references.of_table(session, table)}
    for before in named(session, "table", table):
        if before.state == "home":
            # On its way home it had got some of its foreign keys, and not yet all.
            keys = {key.name: key for key in before.foreign_keys} | keys
            forget(session, before)
    place = sql.Identifier("public", table)
    for name in keys:
        session.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
                place, sql.Identifier(name)
            )
        )
    session.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(place, sql.Identifier(schema)))
    detail = {"foreign_keys": [key.as_json() for key in keys.values()]}
    enter(session, schema, "table", table, detail)


def let_go_of(session: Session, table: str) -> None:
    """Forget that a table which is about to be dropped was on its way home."""
    for before in named(session, "table", table):
        if before.state == "home":
            forget(session, before)


def keep_type(session: Session, schema: str, name: str) -> None:
    """Move an enum type out of ``public``: the archived tables go on using it."""
    make(session, schema)
    session.execute(
        sql.SQL("ALTER TYPE {} SET SCHEMA {}").format(
            sql.Identifier("public", name), sql.Identifier(schema)
        )
    )
    enter(session, schema, "type", name, {})


def type_is_used(session: Session, name: str) -> bool:
    """Tell whether a column of any table has this type of ``public``."""
    return bool(session.scalar(_TYPE_IN_USE, (name,)))


def enter(
    session: Session,
    schema: str,
    kind: str,
    name: str,
    detail: dict[str, Any],
    state: str = "archived",
) -> None:
    """Write an entry, over one of the same kind and name."""
    session.execute(sql.SQL(_LISTED).format(_of(schema)), (kind, name, state, json.dumps(detail)))


def forget(session: Session, entry: Entry) -> None:
    """Take an entry off the list, with the table that held its values if it is empty by now.

    The archive goes with its last entry.
    """
    session.execute(sql.SQL(_FORGOTTEN).format(_of(entry.schema)), (entry.kind, entry.name))
    if entry.relation is not None and entry.kind != "table":
        drop_relation(session, entry)
    if not session.scalar(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(_of(entry.schema))):
        session.execute(sql.SQL("DROP TABLE {}").format(_of(entry.schema)))
        session.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(entry.schema)))


def retire(session: Session, schema: str) -> None:
    """Drop an archive with the rows that it keeps, and nothing that is not on its list."""
    found = [one for one in entries(session) if one.schema == schema]
    for entry in found:
        if entry.kind != "type":
            drop_relation(session, entry)
    for entry in found:
        if entry.kind == "type":
            name = sql.Identifier(schema, entry.name)
            session.execute(sql.SQL("DROP TYPE IF EXISTS {}").format(name))
    session.execute(sql.SQL("DROP TABLE {}").format(_of(schema)))
    session.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))


def drop_relation(session: Session, entry: Entry) -> None:
    """Drop what holds the rows of an entry."""
    if entry.relation is not None:
        session.execute(
            sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(entry.schema, entry.relation))
        )


def sentences(session: Session) -> tuple[str, ...]:
    """Say of each archive what it keeps; one that this role may not read is named all the same."""
    found = entries(session)
    told = [
        sentence_of(session, schema, [one for one in found if one.schema == schema])
        for schema in dict.fromkeys(one.schema for one in found)
    ]
    return (*told, *(f"{schema}: not visible to this role" for schema in unreadable(session)))


def sentence_of(session: Session, schema: str, those: Sequence[Entry]) -> str:
    """Say what one archive keeps: "opssight_archive_r1 of 2026-11-24: user_roles 20,000 rows"."""
    parts = []
    for entry in those:
        rows = rows_of(session, entry)
        if rows:
            why = " whose parent is gone" if entry.kind == "orphans" else ""
            parts.append(f"{entry.name} {rows:,} row{'s'[: rows != 1]}{why}")
    kept = ", ".join(parts) or "no rows"
    return f"{schema} of {min(entry.at for entry in those):%Y-%m-%d}: {kept}"


def _of(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, CONTENTS)
