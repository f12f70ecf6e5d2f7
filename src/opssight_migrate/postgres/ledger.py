"""The loss ledger: what a way back would move aside, take along, or cannot do at all.

Every number is exact and comes with the query that lists its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from psycopg import sql

from opssight_migrate.model.plan import Blocker, Loss, LossKind
from opssight_migrate.opssight import shims
from opssight_migrate.opssight.goings import Going, golden_names
from opssight_migrate.opssight.shims import UniqueShim
from opssight_migrate.postgres import catalog, column_values, loss
from opssight_migrate.postgres.session import Session

_KEYS = 5

_ALL = "SELECT * FROM {table}"
_COUNTED = "SELECT count(*) FROM {table} AS t WHERE {off}"
_OFF = "SELECT t.id, t.{column} FROM {table} AS t WHERE {off}"
_REPEATED = """
SELECT {column}::text AS value, count(*) AS rows, array_agg(id ORDER BY id) AS ids
  FROM {table} WHERE {column} IS NOT NULL GROUP BY 1 HAVING count(*) > 1 ORDER BY 1
"""
# What DROP COLUMN takes along without a word: indexes and constraints that name the column.
_ON_COLUMN = """
SELECT DISTINCT coalesce(i.relname, k.conname)::text,
       pg_describe_object(d.classid, d.objid, d.objsubid),
       coalesce(pg_get_indexdef(i.oid), pg_get_constraintdef(k.oid))
  FROM pg_depend AS d
  JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  LEFT JOIN pg_class AS i ON d.classid = 'pg_class'::regclass AND i.oid = d.objid
                         AND i.relkind = 'i'
  LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
                              AND k.contype <> 'n'
 WHERE d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
   AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s)) AND a.attname = %(column)s
   AND (i.oid IS NOT NULL OR k.oid IS NOT NULL)
 ORDER BY 1
"""
_OTHERWISE = """
SELECT u.id, u.role_id, r.role_id AS assigned
  FROM users AS u
  JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE r.role_id IS DISTINCT FROM u.role_id AND u.role_id IS NOT NULL
"""
_OTHERWISE_COUNTED = "SELECT count(*) FROM ({}) AS found"


def read(
    session: Session, goings: Sequence[Going], organization: tuple[str, str]
) -> tuple[Loss, ...]:
    """Return every loss of undoing these revisions, in their order."""
    tables = {table for going in goings for table in going.tables}
    found: list[Loss] = []
    for going in goings:
        found += _archived(session, going)
        for table, column in going.columns:
            if catalog.column_state(session, table, column) is None:
                continue
            found += _values(session, table, column, organization)
            if table not in tables:
                found += _taken_along(session, going.revision, table, column)
    if {"user_roles", "organizations"} <= tables:
        found += _assigned_otherwise(session)
    return (*found, *conflicts(session, goings))


def conflicts(session: Session, goings: Iterable[Going]) -> Iterator[Loss]:
    """Name the values that could not go back under a unique index, where none holds them now."""
    undone = {going.revision for going in goings}
    for shim in shims.ONCE_UNIQUE:
        if shim.revision not in undone or _is_held_unique(session, shim):
            continue
        query = sql.SQL(_REPEATED).format(
            table=sql.Identifier(shim.table), column=sql.Identifier(shim.column)
        )
        repeated = session.rows(query)
        if repeated:
            yield Loss(
                kind=LossKind.CONFLICT,
                what=f"{shim.table}.{shim.column}",
                rows=sum(int(rows) for _, rows, _ in repeated),
                keys=tuple(f"id {', '.join(map(str, ids))}" for _, _, ids in repeated[:_KEYS]),
                query=_text(session, query),
            )


def blockers(session: Session, goings: Sequence[Going], losses: Iterable[Loss]) -> list[Blocker]:
    """Say what makes it impossible: somebody's object stands on what goes, or values repeat."""
    found = [
        Blocker(
            message=f"{what} is to go, and {', '.join(standing)} stands on it",
            where=what,
            hint="drop or change what stands on it, then: opssight-migrate rollback",
        )
        for what, standing in loss.dependents(
            session,
            tables=[table for going in goings for table in going.tables],
            columns=[column for going in goings for column in going.columns],
            enums=[enum for going in goings for enum in going.enums],
        )
    ]
    found += [
        Blocker(
            message=f"{one.what} would be unique again, and {one.rows:,} rows share their value"
            f" with another ({'; '.join(one.keys)})",
            where=one.what,
            hint=f"give each its own; they are listed by: {one.query}",
        )
        for one in losses
        if one.kind is LossKind.CONFLICT
    ]
    return found


def _archived(session: Session, going: Going) -> Iterator[Loss]:
    for table in going.tables:
        if catalog.relation_exists(session, table) and (rows := catalog.rows_exact(session, table)):
            query = sql.SQL(_ALL).format(table=sql.Identifier(table))
            yield Loss(kind=LossKind.ARCHIVED, what=table, rows=rows, query=_text(session, query))


def _values(
    session: Session, table: str, column: str, organization: tuple[str, str]
) -> Iterator[Loss]:
    usual = column_values.usual_by_upgrade(session, table, column, organization)
    off = column_values.off_usual(column, usual)
    name = sql.Identifier(table)
    rows = int(session.scalar(sql.SQL(_COUNTED).format(table=name, off=off)))
    if rows:
        query = sql.SQL(_OFF).format(column=sql.Identifier(column), table=name, off=off)
        yield Loss(
            kind=LossKind.VALUES, what=f"{table}.{column}", rows=rows, query=_text(session, query)
        )


def _taken_along(session: Session, revision: str, table: str, column: str) -> Iterator[Loss]:
    own = golden_names(revision) | {shim.index for shim in shims.ONCE_UNIQUE}
    for name, described, definition in session.rows(_ON_COLUMN, {"table": table, "column": column}):
        if name not in own:
            yield Loss(
                kind=LossKind.GOES,
                what=f"{described} goes with {table}.{column}",
                keys=(str(name),),
                query=str(definition),
            )


def _assigned_otherwise(session: Session) -> Iterator[Loss]:
    if not catalog.relation_exists(session, "user_roles"):
        return
    rows = int(session.scalar(sql.SQL(_OTHERWISE_COUNTED).format(sql.SQL(_OTHERWISE))))
    if rows:
        yield Loss(
            kind=LossKind.NOTE,
            what="users whose assignment differs from users.role_id, by which the old release goes;"
            " a later migrate makes them equal, and role_id wins",
            rows=rows,
            query=" ".join(_OTHERWISE.split()),
        )


def _is_held_unique(session: Session, shim: UniqueShim) -> bool:
    states = (catalog.index_state(session, name) for name in (shim.index, shim.golden_index))
    return any(state is not None and state.valid and state.unique for state in states)


def _text(session: Session, query: sql.Composable) -> str:
    return " ".join(query.as_string(session.connection).split())
