"""Indexes built CONCURRENTLY that heal themselves: looked at before, and again afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

from psycopg import sql

from opssight_migrate.model.errors import LockBudgetError, ShapeError
from opssight_migrate.model.events import Blocked
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.build_waits import BuildWaits
from opssight_migrate.postgres.failures import LockNotAvailableError
from opssight_migrate.postgres.locks import Door, Wanted, describe
from opssight_migrate.postgres.session import Session

_TABLE_OF_INDEX = """
SELECT c.relname::text
  FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid
 WHERE x.indexrelid = to_regclass(%(index)s)
"""
# A killed REINDEX CONCURRENTLY leaves its own half under these names.
_HALVES = """
SELECT i.relname::text
  FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE x.indrelid = (SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%(index)s))
   AND NOT x.indisvalid AND i.relname ~ ('^' || %(name)s || '_cc(new|old)[0-9]*$')
"""
# Whose transactions a build waits for: all that were open before it. Locks on virtual
# transactions are visible to every role, the activity of others is not.
_OPEN_TRANSACTIONS = """
SELECT a.pid, a.usename::text, a.application_name,
       EXTRACT(epoch FROM clock_timestamp() - a.xact_start)::float8, left(a.query, 200)
  FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
   AND a.datname = current_database()
 ORDER BY (a.backend_xmin IS NULL AND a.backend_xid IS NULL), a.xact_start
"""


def statement(
    name: str, table: str, columns: Sequence[str], *, unique: bool, online: bool
) -> sql.Composed:
    """Return CREATE INDEX for a btree on ``columns``; CONCURRENTLY when ``online``."""
    return sql.SQL("CREATE {unique}INDEX {online}{name} ON {table} ({columns})").format(
        unique=sql.SQL("UNIQUE " if unique else ""),
        online=sql.SQL("CONCURRENTLY " if online else ""),
        name=sql.Identifier(name),
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )


def ensure(session: Session, door: Door, name: str, create: sql.Composed, *, online: bool) -> None:
    """Make the index ``name`` exist, valid and as ``create`` defines it.

    ``IF NOT EXISTS`` would keep an INVALID index of that name for ever, so we look: an invalid
    one is dropped and built again; a valid one of another definition is refused.

    Raises: LockBudgetError when older transactions outlast the budget; ShapeError.
    """
    state = catalog.index_state(session, name)
    if state is not None and not state.valid:
        _drop(session, door, name)
        state = None
    if state is None:
        if online:
            _build(session, door, name, create)
        else:
            session.execute(create)
        state = catalog.index_state(session, name)
    wanted = _normal(create.as_string(session.connection))
    if state is None or not state.valid or _normal(state.definition) != wanted:
        found = "nothing" if state is None else state.definition
        raise ShapeError(f"index {name} is not as it should be: {found}", where=name, hint=wanted)


def _build(session: Session, door: Door, name: str, create: sql.Composed) -> None:
    # CREATE INDEX CONCURRENTLY waits for every older snapshot, and lock_timeout counts that wait;
    # nobody queues behind it, so it may wait for the whole budget.
    door.pause_point()
    session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{_budget_ms(door)}ms",))
    try:
        with door.watched(BuildWaits(door, name).look):
            session.execute(create)
    except LockNotAvailableError as error:
        raise LockBudgetError(
            f"index {name} could not be built within {door.budget_s:g} s (lock_budget):"
            f" older transactions are still open: {describe(_open_transactions(session))}",
            hint="end them, then the same command again (the half-built index is built anew)",
            where=name,
        ) from error
    finally:
        if not session.connection.closed:
            session.execute("SELECT set_config('lock_timeout', '0', false)")


def _open_transactions(session: Session) -> tuple[Blocked, ...]:
    return tuple(
        Blocked(pid=pid, user=user, application=application, age_s=age_s, query=query)
        for pid, user, application, age_s, query in session.rows(_OPEN_TRANSACTIONS)
    )


def _budget_ms(door: Door) -> int:
    # 0 would mean: wait for ever.
    return max(1, round(door.budget_s * 1000))


def _drop(session: Session, door: Door, name: str) -> None:
    table = session.scalar(_TABLE_OF_INDEX, {"index": f'public."{name}"'})
    halves = session.rows(_HALVES, {"index": f'public."{name}"', "name": re.escape(name)})

    def work() -> None:
        for index in (name, *(half for (half,) in halves)):
            session.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(index)))

    door.through((Wanted(str(table)),), work)


def _normal(definition: str) -> str:
    """Fold the spellings of one definition: quotes, schema, access method, CONCURRENTLY."""
    text = definition.replace('"', "").replace("CONCURRENTLY ", "").replace("public.", "")
    return text.replace("USING btree ", "").strip()
