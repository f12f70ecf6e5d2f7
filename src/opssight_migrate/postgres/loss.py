"""What a downgrade would take with it: rows, values, and what others have built on a column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from psycopg import sql

from opssight_migrate.model.errors import RefusedError, RowsWouldBeLostError
from opssight_migrate.postgres import catalog, extras
from opssight_migrate.postgres.session import Session

# What DROP without CASCADE would stumble over, in the server's own words, but for views, rules and
# policies. What goes away by itself with a table or column that goes (their own foreign keys,
# triggers, checks) is not named, nor what stands in an archive of ours, nor a
# hypertable's chunks.
_STANDING = """
WITH going AS (
    SELECT c.oid, a.attnum
      FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS g (name, attribute)
      JOIN pg_class AS c ON c.relnamespace = 'public'::regnamespace AND c.relname = g.name
      LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = g.attribute
     WHERE g.attribute IS NULL OR a.attnum IS NOT NULL
     UNION ALL
    SELECT c.oid, NULL
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE starts_with(n.nspname, 'opssight_archive_')
        OR n.nspname IN ('opssight_series', 'opssight_series_rest', '_timescaledb_internal')
)
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM pg_depend AS d
 WHERE d.deptype = 'n' AND d.classid NOT IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
   AND (d.refclassid = 'pg_class'::regclass
        AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s::text))
        AND (%(column)s::text IS NULL
             OR d.refobjsubid = (SELECT a.attnum FROM pg_attribute AS a
                                  WHERE a.attrelid = d.refobjid AND a.attname = %(column)s::text))
        OR d.refclassid = 'pg_type'::regclass
        AND d.refobjid IN (SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type AS t
                            WHERE t.typnamespace = 'public'::regnamespace
                              AND t.typname = %(enum)s::text))
   AND NOT EXISTS (SELECT FROM going
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = going.oid
                      AND coalesce(going.attnum, d.objsubid) = d.objsubid)
   AND NOT EXISTS (SELECT FROM pg_depend AS own JOIN going ON going.oid = own.refobjid
                    WHERE own.classid = d.classid AND own.objid = d.objid
                      AND own.deptype IN ('a', 'i') AND own.refclassid = 'pg_class'::regclass
                      AND coalesce(going.attnum, own.refobjsubid) = own.refobjsubid)
 ORDER BY 1
"""


def refuse(
    session: Session,
    *,
    tables: Sequence[str] = (),
    columns: Sequence[tuple[str, str]] = (),
    enums: Iterable[str] = (),
) -> None:
    """Refuse to drop tables with rows, and anything that somebody else's object stands on.

    Raises: RowsWouldBeLostError with the rows of each table; RefusedError naming the objects.
    """
    counted = {
        table: catalog.rows_exact(session, table)
        for table in tables
        if catalog.relation_exists(session, table)
    }
    if lost := {table: rows for table, rows in counted.items() if rows}:
        raise of_rows(lost)
    refuse_dependents(session, tables=tables, columns=columns, enums=enums)


def refuse_dependents(
    session: Session,
    *,
    tables: Sequence[str] = (),
    columns: Sequence[tuple[str, str]] = (),
    enums: Iterable[str] = (),
) -> None:
    """Refuse to take away what somebody else's object stands on.

    Raises: RefusedError naming the objects.
    """
    for what, standing in dependents(session, tables=tables, columns=columns, enums=enums):
        raise RefusedError(
            f"{what} is to be dropped, and {', '.join(standing)} stands on it",
            where=what,
            hint="drop or change what stands on it, then run the downgrade again",
        )


def dependents(
    session: Session,
    *,
    tables: Sequence[str] = (),
    columns: Sequence[tuple[str, str]] = (),
    enums: Iterable[str] = (),
) -> Iterator[tuple[str, list[str]]]:
    """Say of each table, column and type that is to go what else stands on it, if anything."""
    going: list[tuple[str, str | None]] = [*((table, None) for table in tables), *columns]
    names: dict[str, object] = {
        "tables": [table for table, _ in going],
        "columns": [column for _, column in going],
    }
    for table, column in going:
        what = names | {"table": table, "column": column, "enum": None}
        standing = [str(found) for found in extras.dependents_of(session, table, column)]
        standing += [str(found) for (found,) in session.rows(_STANDING, what)]
        if standing:
            yield (table if column is None else f"{table}.{column}"), standing
    for enum in enums:
        what = names | {"table": None, "column": None, "enum": enum}
        standing = [str(found) for (found,) in session.rows(_STANDING, what)]
        if standing:
            yield f"type {enum}", standing


def refuse_values(session: Session, table: str, column: str) -> None:
    """Refuse to drop a column in which some rows have a value.

    Raises: RowsWouldBeLostError with the number of these rows.
    """
    if catalog.column_state(session, table, column) is None:
        return
    rows = session.scalar(
        sql.SQL("SELECT count(*) FROM {} WHERE {} IS NOT NULL").format(
            sql.Identifier(table), sql.Identifier(column)
        )
    )
    if rows:
        raise of_rows({f"{table}.{column}": int(rows)})


def of_rows(lost: Mapping[str, int]) -> RowsWouldBeLostError:
    """Return the refusal of a downgrade, with the rows of each table."""
    counted = ", ".join(f"{table}: {rows:,}" for table, rows in lost.items())
    return RowsWouldBeLostError(
        f"the downgrade would take rows with it ({counted})",
        hint="export or delete these rows first, if they may go",
    )
