"""How long a query takes at the server: the median of several runs, and the plan of the last."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from opssight_migrate.model.errors import StatementError
from opssight_migrate.opssight.queries import Query
from opssight_migrate.postgres import query_plans
from opssight_migrate.postgres.query_plans import QueryPlan
from opssight_migrate.postgres.session import Session

RUNS = 5
LIMIT_MS = 2_000
"""What takes longer is cut off, and counts as having taken this long."""
_LONG_MS = 200.0
_FEW_RUNS = 3
_LIMITS = (
    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', '200ms', true)"
)
_CUT_OFF = ("57014", "55P03")
# The server's own time: what goes on between the two ends of a connection is none of the query's.
_ANALYZED = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY ON, FORMAT JSON) "
_PLANNED = "EXPLAIN (FORMAT JSON) "
_BY_INDEX_ALONE = "SET LOCAL enable_seqscan = off"
# One in the middle: the same in every run while the ids stay, and with something hanging on it.
_KEY = """
SELECT {column} FROM {table}
 WHERE {column} >= (SELECT (min({column})::int8 + max({column})) / 2 FROM {table})
 ORDER BY {column} LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Some runs of a query, in microseconds each, and the plan of the last one."""

    query: Query
    key: int | None
    runs_us: tuple[int, ...]
    plan: QueryPlan

    @property
    def median_us(self) -> int:
        """The usual one."""
        return round(statistics.median(self.runs_us))

    @property
    def fastest_us(self) -> int:
        """The best one: whatever else the machine did, it did not make this one quicker."""
        return min(self.runs_us)


def key_for(session: Session, query: Query) -> int | None:
    """Choose the id that a query is asked for; None where it needs none, or there is no row."""
    if query.key is None:
        return None
    table, column = query.key
    chosen = sql.SQL(_KEY).format(table=sql.Identifier(table), column=sql.Identifier(column))
    try:
        with session.trying():
            session.execute(_LIMITS, (str(LIMIT_MS),))
            key = session.scalar(chosen)
    except StatementError as error:
        if error.sqlstate in _CUT_OFF:
            return None
        raise
    return None if key is None else int(key)


def measure(session: Session, query: Query, key: int | None) -> Latency:
    """Run a query, once to warm up and then RUNS times; one that is long three times in all.

    Raises: StatementError, if it cannot be run at all, as on a catalogue that is not OpsSight's.
    """
    answers: list[Mapping[str, Any]] = []
    taken: list[int] = []
    try:
        first = _analyzed(session, query, key)
        is_long = first["Execution Time"] >= _LONG_MS
        answers = [first] if is_long else []
        while len(answers) < (min(RUNS, _FEW_RUNS) if is_long else RUNS):
            answers.append(_analyzed(session, query, key))
    except StatementError as error:
        if error.sqlstate not in _CUT_OFF:
            raise
        taken.append(LIMIT_MS * 1000)
    taken += [max(round(answer["Execution Time"] * 1000), 1) for answer in answers]
    return Latency(
        query=query,
        key=key,
        runs_us=tuple(taken),
        plan=query_plans.read(answers[-1] if answers else _explained(session, query, key)),
    )


def read_whole(session: Session, query: Query) -> list[str]:
    """Return the tables that a query reads from end to end though only an index is left to it."""
    with session.trying():
        session.execute(_BY_INDEX_ALONE)
        return query_plans.reads_whole(_explained(session, query, 1), query.by_index)


def _analyzed(session: Session, query: Query, key: int | None) -> Mapping[str, Any]:
    with session.trying():
        session.execute(_LIMITS, (str(LIMIT_MS),))
        (answer,) = session.scalar(_ANALYZED + query.sql, {"key": key})
    return dict(answer)


def _explained(session: Session, query: Query, key: int | None) -> Mapping[str, Any]:
    with session.trying():
        session.execute(_LIMITS, (str(LIMIT_MS),))
        (answer,) = session.scalar(_PLANNED + query.sql, {"key": key})
    return dict(answer)
