"""The values of a dropped column: kept in an archive for rows off the usual value, and put back."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import archive, organizations
from opssight_migrate.postgres.archive import Entry
from opssight_migrate.postgres.references import ForeignKey
from opssight_migrate.postgres.session import Session

# How many rows of a live table are written in one transaction.
_BATCH_ROWS = 5_000

_THERE = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
_MISSING = """
SELECT EXISTS (SELECT FROM {table} AS t LEFT JOIN {values} AS v ON v.id = t.id
                WHERE {off} AND v.{column} IS DISTINCT FROM t.{column})
"""
_CREATE = "CREATE TABLE {values} AS SELECT id, {column} FROM {table} WITH NO DATA"
# Not IS DISTINCT FROM: these two go through the column's index.
_OFF_USUAL = "(t.{column} < {usual} OR t.{column} > {usual})"
_COPIED = """
INSERT INTO {values} AS v (id, {column})
SELECT t.id, t.{column} FROM {table} AS t WHERE {off}
    ON CONFLICT (id) DO UPDATE SET {column} = EXCLUDED.{column}
 WHERE v.{column} IS DISTINCT FROM EXCLUDED.{column}
"""
_LET_GO = """
DELETE FROM {values} AS v
 WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.id = v.id AND {off})
"""
_POSSIBLE = """
SELECT v.id FROM {values} AS v JOIN {table} AS t ON t.id = v.id
 WHERE {possible}
 ORDER BY v.id LIMIT {limit}
"""
_BACK = """
WITH slice AS ({slice}), batch AS (
    DELETE FROM {values} AS v USING slice WHERE v.id = slice.id RETURNING v.*
)
UPDATE {table} AS t SET {column} = batch.{column} FROM batch WHERE t.id = batch.id
"""


def name_of(table: str, column: str) -> str:
    """Return how a column is called in an archive's contents."""
    return f"{table}.{column}"


def keep(session: Session, schema: str, table: str, column: str, usual: object | None) -> None:
    """Copy (id, value) of the rows whose value is not what an upgrade gives by itself.

    Run again, it brings the copy up to date: first while others write, then under the lock that
    drops the column, when little or nothing is left to copy. ``usual`` None: NULL is usual.
    """
    prepare(session, schema, table, column, usual)
    names = {
        "values": sql.Identifier(schema, f"{table}__{column}"),
        "column": sql.Identifier(column),
        "table": sql.Identifier("public", table),
    }
    off = off_usual(column, usual)
    session.execute(sql.SQL(_COPIED).format(off=off, **names))
    session.execute(sql.SQL(_LET_GO).format(off=off, **names))


def prepare(session: Session, schema: str, table: str, column: str, usual: object | None) -> None:
    """Make and list the table that holds a column's values, unless it is there."""
    archive.make(session, schema)
    values = sql.Identifier(schema, f"{table}__{column}")
    names = {
        "values": values,
        "column": sql.Identifier(column),
        "table": sql.Identifier("public", table),
    }
    if not session.scalar(_THERE, (schema, f"{table}__{column}")):
        session.execute(sql.SQL(_CREATE).format(**names))
        session.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(values))
    archive.enter(session, schema, "column", name_of(table, column), {"usual": usual})


def is_behind(session: Session, schema: str, table: str, column: str, usual: object | None) -> bool:
    """Tell whether there is something to copy, or no copy yet."""
    if not session.scalar(_THERE, (schema, f"{table}__{column}")):
        return True
    return bool(
        session.scalar(
            sql.SQL(_MISSING).format(
                values=sql.Identifier(schema, f"{table}__{column}"),
                column=sql.Identifier(column),
                table=sql.Identifier("public", table),
                off=off_usual(column, usual),
            )
        )
    )


def off_usual(column: str, usual: object | None) -> sql.Composed:
    """Return the condition that is true of a row ``t`` whose value has to be kept."""
    name = sql.Identifier(column)
    if usual is None:
        return sql.SQL("t.{column} IS NOT NULL").format(column=name)
    return sql.SQL(_OFF_USUAL).format(column=name, usual=sql.Literal(usual))


def usual_by_upgrade(
    session: Session, table: str, column: str, organization: tuple[str, str]
) -> object | None:
    """Return the value that an upgrade gives to every row by itself; None is NULL.

    ``organization`` is the default one, by name and slug.
    """
    if column == "organization_id" and table in TENANT_TABLES:
        return organizations.usual_of(session, table, *organization)
    return True if column in ("is_system_role", "is_system_permission") else None


def usual_of(session: Session, table: str, column: str) -> object | None:
    """Return what the newest archive says the column's usual value was; None without one."""
    found = archive.named(session, "column", name_of(table, column))
    return found[-1].detail.get("usual") if found else None


def bring_back(
    session: Session,
    table: str,
    column: str,
    *,
    parent: ForeignKey | None = None,
    pause_point: Callable[[], None] = lambda: None,
) -> tuple[Entry, ...]:
    """Put archived values back, batch by batch; return what has to stay in an archive.

    A value stays where its row was deleted meanwhile, or the row it points at through ``parent``.
    Of two archives the newer one is put back last, so that it wins.
    """
    staying: list[Entry] = []
    for entry in archive.named(session, "column", name_of(table, column)):
        names = {
            "values": sql.Identifier(entry.schema, f"{table}__{column}"),
            "table": sql.Identifier("public", table),
            "column": sql.Identifier(column),
        }
        possible: sql.Composable = sql.SQL("true")
        if parent is not None:
            possible = sql.SQL("NOT {}").format(parent.broken_by(sql.Identifier("v")))
        limit = sql.Literal(_BATCH_ROWS)
        part = sql.SQL(_POSSIBLE).format(possible=possible, limit=limit, **names)
        while session.row(part) is not None:
            pause_point()
            with session.writing():
                session.execute(sql.SQL(_BACK).format(slice=part, **names))
        if archive.rows_of(session, entry):
            staying.append(entry)
        else:
            with session.writing():
                archive.forget(session, entry)
    return tuple(staying)
