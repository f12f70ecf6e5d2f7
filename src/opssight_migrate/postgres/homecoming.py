"""The way home: an upgrade looks into the archives first, before it makes a table anew."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.postgres import archive, references
from opssight_migrate.postgres.archive import Entry
from opssight_migrate.postgres.references import ForeignKey
from opssight_migrate.postgres.session import Session

_COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull
  FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass(quote_ident(%s) || '.' || quote_ident(%s))
   AND a.attnum > 0 AND NOT a.attisdropped
"""
_LABELS = """
SELECT ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e
              WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
  FROM pg_type AS t
 WHERE t.typnamespace = to_regnamespace(quote_ident(%s)) AND t.typname = %s
"""
_ORPHANS_TABLE = "CREATE TABLE IF NOT EXISTS {kept} (LIKE {table})"
# Rows that point at a row which has to stay, stay with it.
_LEAVE_ORPHANS = """
WITH RECURSIVE orphan (id) AS (
    SELECT t.id FROM {table} AS t WHERE {broken}
    {children}
), gone AS (
    DELETE FROM {table} AS t USING orphan WHERE t.id = orphan.id RETURNING t.*
)
INSERT INTO {kept} SELECT * FROM gone
"""
_CHILDREN = "UNION SELECT c.id FROM {table} AS c JOIN orphan AS o ON {same}"
_ANY_BROKEN = "SELECT EXISTS (SELECT FROM {table} AS t WHERE {broken})"


def type_to_fetch(session: Session, name: str, labels: Sequence[str]) -> Entry | None:
    """Return the newest archive's enum type of this name, if it has these labels."""
    for entry in reversed(archive.named(session, "type", name)):
        found = session.scalar(_LABELS, (entry.schema, name))
        if found is not None and tuple(found) == tuple(labels):
            return entry
    return None


def fetch_type(session: Session, entry: Entry) -> None:
    """Move an enum type back into ``public``, in the caller's transaction."""
    session.execute(
        sql.SQL("ALTER TYPE {} SET SCHEMA public").format(sql.Identifier(entry.schema, entry.name))
    )
    archive.forget(session, entry)


def table_to_fetch(session: Session, table: str) -> Entry | None:
    """Return the newest archived table of this name that has the columns it must have."""
    wanted = _columns_when_new(table)
    for entry in reversed(archive.named(session, "table", table)):
        if entry.state != "archived":
            continue
        found = {name: rest for name, *rest in session.rows(_COLUMNS, (entry.schema, table))}
        if all(found.get(name) == list(rest) for name, rest in wanted.items()):
            return entry
    return None


def fetch_table(session: Session, entry: Entry) -> None:
    """Move a table back into ``public``, in the caller's transaction; its entry is now home."""
    session.execute(
        sql.SQL("ALTER TABLE {} SET SCHEMA public").format(sql.Identifier(entry.schema, entry.name))
    )
    archive.enter(session, entry.schema, "table", entry.name, entry.detail, state="home")


def on_its_way(session: Session, table: str) -> Entry | None:
    """Return the entry of a table that came home and lacks some of its foreign keys, or None."""
    found = [one for one in archive.named(session, "table", table) if one.state == "home"]
    return found[-1] if found else None


def leave_orphans(session: Session, entry: Entry, key: ForeignKey) -> int:
    """Move the rows whose parent was deleted meanwhile back into the archive; return how many.

    The foreign key stands already, not yet validated, so that no more of them can come.
    """
    table = sql.Identifier("public", entry.name)
    broken = key.broken_by(sql.Identifier("t"))
    if not session.scalar(sql.SQL(_ANY_BROKEN).format(table=table, broken=broken)):
        return 0
    kept = sql.Identifier(entry.schema, f"{entry.name}__orphans")
    own = references.to_itself(session, entry.name)
    same = sql.SQL(" OR ").join(sql.SQL("c.{} = o.id").format(sql.Identifier(name)) for name in own)
    children = sql.SQL(_CHILDREN).format(table=table, same=same) if own else sql.SQL("")
    with session.writing():
        session.execute(sql.SQL(_ORPHANS_TABLE).format(kept=kept, table=table))
        archive.enter(session, entry.schema, "orphans", entry.name, {})
        return session.execute(
            sql.SQL(_LEAVE_ORPHANS).format(table=table, kept=kept, broken=broken, children=children)
        )


def told(emit: Emit, session: Session, entries: Sequence[Entry], why: str) -> None:
    """Say, table by table, what has to stay in an archive."""
    for entry in entries:
        rows = archive.rows_of(session, entry)
        emit(
            Noted(
                severity="warning",
                code="OM311",
                message=f"{rows:,} rows of {entry.name} stay in {entry.schema}: {why}",
                hint=f"they are in {entry.schema}.{entry.relation} until cleanup --archives",
            )
        )


def arrived(session: Session, entry: Entry) -> None:
    """Take a table off its archive's list: it is home with all its foreign keys."""
    with session.writing():
        archive.forget(session, entry)


def _columns_when_new(table: str) -> dict[str, tuple[str, bool]]:
    """Return type and nullability of each column in the revision that makes the table."""
    for revision in REVISIONS:
        tables = golden(revision.id)["tables"]
        if table in tables:
            return {
                column["name"]: (column["type"], column["nullable"])
                for column in tables[table]["columns"]
            }
    return {}
