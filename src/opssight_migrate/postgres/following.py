"""Where many values have to be archived: a trigger keeps the copy true while it is being made.

Reading them again under the lock that drops the column would take as long as there are many.
"""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from opssight_migrate.postgres import column_values
from opssight_migrate.postgres.session import Session

FEW_ROWS = 1_000
"""So many are read again under the lock: that costs less than a trigger on a live table."""

_BATCH_ROWS = 5_000
_TRIGGER = "opssight_archive_follows"

_IS_MANY = "SELECT EXISTS (SELECT FROM {table} AS t WHERE {off} OFFSET {few})"
_FOLLOWS = """
SELECT EXISTS (SELECT FROM pg_trigger
                WHERE tgrelid = to_regclass('public.' || quote_ident(%s)) AND tgname = %s)
"""
# No UPDATE OF: that would stand on the column, and be somebody's object in the way of a rollback.
_BODY = """
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM {values} AS v WHERE v.id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {values} AS v (id, {column})
        SELECT t.id, t.{column} FROM (SELECT NEW.id, NEW.{column}) AS t WHERE {off}
            ON CONFLICT (id) DO UPDATE SET {column} = EXCLUDED.{column};
    END IF;
    RETURN NULL;
END
"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {body}
"""
_CREATE = """
CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION {function}()
"""
# FOR SHARE: whoever changes one of these rows waits until its copy is there to be changed too.
_BATCH = """
WITH slice AS (
    SELECT t.id, t.{column} FROM {table} AS t
     WHERE t.id > {after} AND {off}
     ORDER BY t.id LIMIT {limit} FOR SHARE
), copied AS (
    INSERT INTO {values} AS v (id, {column}) SELECT id, {column} FROM slice
        ON CONFLICT (id) DO UPDATE SET {column} = EXCLUDED.{column}
     WHERE v.{column} IS DISTINCT FROM EXCLUDED.{column}
)
SELECT max(id) FROM slice
"""
_FIRST = "SELECT min(id) - 1 FROM {table}"


def is_worth_it(session: Session, table: str, column: str, usual: object | None) -> bool:
    """Tell whether so many values have to be kept that nobody may wait while they are read."""
    query = sql.SQL(_IS_MANY).format(
        table=sql.Identifier("public", table),
        off=column_values.off_usual(column, usual),
        few=sql.Literal(FEW_ROWS),
    )
    return bool(session.scalar(query))


def follows(session: Session, table: str) -> bool:
    """Tell whether the trigger stands on a table."""
    return bool(session.scalar(_FOLLOWS, (table, _TRIGGER)))


def begin(session: Session, schema: str, table: str, column: str, usual: object | None) -> None:
    """Make the trigger, in the caller's transaction and under its lock on the table.

    It writes with its owner's rights: the application has none in the archive.
    """
    names = _names(schema, table, column)
    body = sql.SQL(_BODY).format(off=column_values.off_usual(column, usual), **names)
    text = sql.Literal(body.as_string(session.connection))
    session.execute(sql.SQL(_FUNCTION).format(body=text, **names))
    session.execute(sql.SQL(_CREATE).format(trigger=sql.Identifier(_TRIGGER), **names))


def copy(
    session: Session,
    schema: str,
    table: str,
    column: str,
    usual: object | None,
    pause_point: Callable[[], None],
) -> None:
    """Copy what was there before the trigger, in batches; run again, it begins anew."""
    names = _names(schema, table, column)
    after = session.scalar(sql.SQL(_FIRST).format(**names))
    while after is not None:
        pause_point()
        batch = sql.SQL(_BATCH).format(
            off=column_values.off_usual(column, usual),
            after=sql.Literal(after),
            limit=sql.Literal(_BATCH_ROWS),
            **names,
        )
        after = session.scalar(batch)


def end(session: Session, schema: str, table: str, column: str) -> None:
    """Drop the trigger and its function, in the transaction that drops the column."""
    names = _names(schema, table, column)
    session.execute(
        sql.SQL("DROP TRIGGER IF EXISTS {trigger} ON {table}").format(
            trigger=sql.Identifier(_TRIGGER), **names
        )
    )
    session.execute(sql.SQL("DROP FUNCTION IF EXISTS {function}()").format(**names))


def _names(schema: str, table: str, column: str) -> dict[str, sql.Identifier]:
    return {
        "values": sql.Identifier(schema, f"{table}__{column}"),
        "table": sql.Identifier("public", table),
        "column": sql.Identifier(column),
        "function": sql.Identifier(schema, f"{table}__{column}_follow"),
    }
