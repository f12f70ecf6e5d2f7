"""What a restored backup would not bring back: the live database, compared with it row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opssight_migrate.model.events import Emit, TableCompared
from opssight_migrate.model.plan import Loss, LossKind
from opssight_migrate.postgres import differences, digest, journal
from opssight_migrate.postgres.differences import Difference, Keys
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Composed, Identifier, Literal

_ROWS = SQL("SELECT * FROM {} AS t")
_COUNT = SQL("SELECT count(*) FROM ({}) AS listed")
# What a column that was added had for the rows that were there: no row lost a value by that.
_GIVEN = """
SELECT (attmissingval::text::text[])[1] FROM pg_attribute
 WHERE attrelid = to_regclass('public.' || quote_ident(%s)) AND attname = %s AND atthasmissing
"""
_ELSEWHERE = """
SELECT string_agg(format('%%I.%%I', n.nspname, c.relname), ', ' ORDER BY 1), count(*)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$|_timescaledb)'
   AND n.nspname NOT IN ('public', %s)
"""


def read(
    live: Session, restored: Session, emit: Emit, *, in_place: bool = False
) -> tuple[Loss, ...]:
    """Return the loss ledger of putting ``restored`` in the place of ``live``, exact.

    ``in_place``: only the rows of ``public`` are replaced. Both sessions hold a snapshot. A table
    of which nothing is said is equal, row by row.
    """
    now, then = digest.columns_by_table(live), digest.columns_by_table(restored)
    lines: list[Loss] = []
    for table in sorted(now.keys() | then.keys()):
        found = list(_of_table(live, restored, table, now.get(table), then.get(table)))
        emit(TableCompared(phase="after", table=table, rows=0, equal=not found))
        lines += found
    elsewhere, number = live.rows(_ELSEWHERE, (journal.SCHEMA,))[0]
    if number:
        fate = "stay as they are" if in_place else "go back to the backup, uncompared"
        lines.append(
            Loss(
                kind=LossKind.NOTE,
                what=f"tables outside public {fate}: {elsewhere}",
            )
        )
    return tuple(lines)


def _of_table(
    live: Session,
    restored: Session,
    table: str,
    now: Sequence[str] | None,
    then: Sequence[str] | None,
) -> Iterable[Loss]:
    if now is None:
        if loss := _counted(restored, LossKind.DELETED, table, table):
            yield loss
        return
    if then is None:
        what = f"{table}, a table that the backup does not have"
        if loss := _counted(live, LossKind.UNKNOWN, what, table):
            yield loss
        return
    common = [name for name in now if name in then]
    if found := differences.between(live, restored, table, common):
        yield from _lines(table, found)
    for column in now:
        if column not in then:
            given = live.scalar(_GIVEN, (table, column))
            condition = SQL(" WHERE {} IS DISTINCT FROM {}").format(
                Identifier("t", column), Literal(given)
            )
            what = f"values of {table}.{column}, which the backup does not have"
            if loss := _counted(live, LossKind.UNKNOWN, what, table, condition):
                yield loss


def _counted(
    session: Session, kind: LossKind, what: str, table: str, where: Composed | None = None
) -> Loss | None:
    """Return the line of these rows, or None where there are none."""
    listed = _ROWS.format(Identifier("public", table))
    listed = listed if where is None else listed + where
    rows = int(session.scalar(_COUNT.format(listed)))
    query = listed.as_string(session.connection)
    return Loss(kind=kind, what=what, rows=rows, query=query) if rows else None


def _lines(table: str, found: Difference) -> Iterable[Loss]:
    for kind, keys in (
        (LossKind.WRITTEN, found.added),
        (LossKind.CHANGED, found.changed),
        (LossKind.DELETED, found.removed),
    ):
        if keys is not None:
            yield Loss(
                kind=kind,
                what=_what(table, keys),
                rows=keys.rows,
                keys=keys.first,
                query=keys.query,
            )


def _what(table: str, keys: Keys) -> str:
    return table if keys.is_exact else f"{table} (scattered: the query lists rows between them too)"
