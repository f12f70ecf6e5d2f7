"""All rows of a database replaced by those of another, in the caller's one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence

from opssight_migrate.model.errors import LockBudgetError, StepFailedError
from opssight_migrate.postgres import digest
from opssight_migrate.postgres.failures import LockNotAvailableError, translated
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Composed, Identifier, Literal

_COLUMNS = """
SELECT a.attname::text FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%s)) AND a.attnum > 0
   AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attname
"""
_KEYS_AT_ONCE = """
SELECT c.relname::text, conname::text
  FROM pg_constraint JOIN pg_class AS c ON c.oid = conrelid
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT condeferrable
   AND conparentid = 0
 ORDER BY 1, 2
"""
# O fires always but in replicas, A always, R in replicas only.
_TRIGGERS = """
SELECT c.relname::text, t.tgname::text, t.tgenabled::text
  FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal AND t.tgenabled <> 'D'
"""
_SEQUENCES = """
SELECT c.relname::text FROM pg_class AS c
 WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace ORDER BY 1
"""
_POINTING_HERE = """
SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
 WHERE contype = 'f' AND confrelid IN (SELECT to_regclass('public.' || quote_ident(t))
                                         FROM unnest(%(tables)s::text[]) AS t)
   AND conrelid NOT IN (SELECT to_regclass('public.' || quote_ident(t))
                          FROM unnest(%(tables)s::text[]) AS t)
"""
_OF_OTHERS = """
SELECT c.relname::text, pg_get_userbyid(c.relowner)::text FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname = ANY(%s) AND NOT pg_has_role(c.relowner, 'USAGE')
 ORDER BY 1
"""
_ATTEMPT = "SET LOCAL lock_timeout = '50ms'"
_PIECE = 1 << 18
STAMP = "alembic_version"


def obstacles(live: Session, restored: Session, going: Iterable[str] = ()) -> Iterable[str]:
    """Say why the rows of ``restored`` cannot take the place of those in ``live``.

    ``going`` are the tables of ``live`` that will have moved aside by then.
    """
    gone = set(going)
    tables = digest.columns_by_table(restored)
    here = {t: c for t, c in digest.columns_by_table(live).items() if t not in gone}
    for table, columns in tables.items():
        if table not in here:
            yield f"table {table} is in the backup and not in the database"
        elif missing := sorted(set(columns) - set(here[table])):
            yield f"column {table}.{missing[0]} is in the backup and not in the database"
    for table, owner in live.rows(_OF_OTHERS, (list(tables),)):
        yield f"table {table} belongs to {owner}: this role may not replace its rows"
    for pointing, at in live.rows(_POINTING_HERE, {"tables": list(tables)}):
        if pointing not in gone:
            yield f"{pointing} refers to {at} and is not in the backup"


def lock(session: Session, tables: Sequence[str], budget_s: float) -> None:
    """Begin a transaction in which nobody else reads or writes ``tables``; nobody queues behind us.

    Raises: LockBudgetError; then no transaction is open.
    """
    until = time.monotonic() + budget_s
    names = SQL(", ").join(Identifier("public", table) for table in tables)
    while True:
        session.execute("BEGIN")
        try:
            session.execute(_ATTEMPT)
            session.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
            session.execute("SET LOCAL lock_timeout = 0")
        except LockNotAvailableError as error:
            session.execute("ROLLBACK")
            if time.monotonic() > until:
                raise LockBudgetError(
                    f"the tables could not be locked in {budget_s:,.0f} s: {error.message}",
                    hint="stop what is at work on them, and give the same command again",
                ) from error
        else:
            return
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 (jitter)


def refill(
    live: Session, restored: Session, tables: Sequence[str], told: Callable[[str, int], None]
) -> None:
    """Empty ``tables`` and fill them from ``restored``; sequences too. ``told`` hears of each.

    Foreign keys are looked at when all is there, triggers of others do not fire.

    Raises: StepFailedError, if a table has other columns there; what a constraint raises.
    """
    triggers = [row for row in live.rows(_TRIGGERS) if row[0] in tables]
    keys = [row for row in live.rows(_KEYS_AT_ONCE) if row[0] in tables]
    for table, name, _ in triggers:
        live.execute(_trigger(table, name, SQL("DISABLE TRIGGER")))
    for table, name in keys:
        live.execute(_deferrable(table, name, SQL("DEFERRABLE INITIALLY DEFERRED")))
    names = SQL(", ").join(Identifier("public", table) for table in tables)
    live.execute(SQL("TRUNCATE {}").format(names))
    for table in tables:
        told(table, _copied(live, restored, table))
    for (name,) in restored.rows(_SEQUENCES):
        _set_sequence(live, restored, name)
    live.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table, name in keys:
        live.execute(_deferrable(table, name, SQL("NOT DEFERRABLE")))
    for table, name, mode in triggers:
        live.execute(_trigger(table, name, _ENABLED[mode]))


_ENABLED = {
    "O": SQL("ENABLE TRIGGER"),
    "A": SQL("ENABLE ALWAYS TRIGGER"),
    "R": SQL("ENABLE REPLICA TRIGGER"),
}


def _trigger(table: str, name: str, what: SQL) -> Composed:
    return SQL("ALTER TABLE {} {} {}").format(Identifier("public", table), what, Identifier(name))


def _deferrable(table: str, name: str, how: SQL) -> Composed:
    place = Identifier("public", table)
    return SQL("ALTER TABLE {} ALTER CONSTRAINT {} {}").format(place, Identifier(name), how)


def _copied(live: Session, restored: Session, table: str) -> int:
    columns = [name for (name,) in restored.rows(_COLUMNS, (table,))]
    if columns != [name for (name,) in live.rows(_COLUMNS, (table,))]:
        raise StepFailedError(
            f"{table} has other columns here than in the backup",
            where=table,
            hint="give a role CREATEDB, and restore beside",
        )
    names = SQL(", ").join(map(Identifier, columns))
    place = Identifier("public", table)
    with translated(), restored.connection.cursor() as source, live.connection.cursor() as sink:
        with (
            source.copy(SQL("COPY {} ({}) TO STDOUT").format(place, names)) as reading,
            sink.copy(SQL("COPY {} ({}) FROM STDIN").format(place, names)) as writing,
        ):
            for piece in reading:
                writing.write(bytes(piece))
        return max(sink.rowcount, 0)


def _set_sequence(live: Session, restored: Session, name: str) -> None:
    """Set a sequence so that a rollback takes it back: setval alone is outside of transactions.

    RESTART gives it a new file in this transaction, and only that file is written to.
    """
    sequence = Identifier("public", name)
    last, is_called = restored.rows(SQL("SELECT last_value, is_called FROM {}").format(sequence))[0]
    live.execute(SQL("ALTER SEQUENCE {} RESTART").format(sequence))
    text = sequence.as_string(live.connection)
    live.scalar(
        SQL("SELECT setval({}::regclass, {}, {})").format(
            Literal(text), Literal(int(last)), Literal(bool(is_called))
        )
    )
