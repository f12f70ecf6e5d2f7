"""One connection and its transactions: the shape in which every other floor asks SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from opssight_migrate.model.errors import PrivilegeError, StatementError
from opssight_migrate.postgres.failures import translated

Query = LiteralString | sql.SQL | sql.Composed
Params = Sequence[object] | Mapping[str, object] | None
Row = tuple[Any, ...]
_T = TypeVar("_T")

_QUERY_CANCELED = "57014"
_TRIES = 100
_ASKED_OFTEN = 1  # a statement is prepared from the second time on

# Sessions inherit the settings of the role and the database (an idle_session_timeout once killed
# a lock connection, forced row security hid rows), so each sets what it relies on.
RELIED_ON: dict[str, str] = {
    "search_path": "public, pg_temp",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "client_connection_check_interval": "1s",
    # A client that vanished must not keep its locks for the two hours of most kernels.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "row_security": "off",
    "jit": "off",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "default_transaction_read_only": "off",
    "client_min_messages": "warning",
    "quote_all_identifiers": "off",
}
_SET = """
SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)
 WHERE current_setting(name, true) IS NOT NULL
"""


class Session:
    """A connection in autocommit mode. Every query goes through here and fails in our words."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection
        self.accounting: Callable[[], AbstractContextManager[None]] | None = None
        self.companion: Session | None = None
        """A session on the maintenance database that holds a lock for this one, closed with it."""

    def prepare(self) -> None:
        """Set what we rely on; what this server does not know or refuses is left out."""
        self.unhurried(lambda: self.execute("SET statement_timeout = 0"))
        try:
            self._set(RELIED_ON)
        except (PrivilegeError, StatementError):
            # client_connection_check_interval is refused where the platform has no poll for it.
            for name, value in RELIED_ON.items():
                with suppress(PrivilegeError, StatementError):
                    self._set({name: value})

    def _set(self, settings: Mapping[str, str]) -> None:
        self.execute(_SET, (list(settings), list(settings.values())))

    def unhurried(self, work: Callable[[], _T]) -> _T:
        """Do ``work``, again where a time-out cuts it off: an inherited one may leave 1 ms."""
        for _ in range(_TRIES):
            try:
                return work()
            except StatementError as error:
                if error.sqlstate != _QUERY_CANCELED:
                    raise
        return work()

    @property
    def pid(self) -> int:
        """The server process that serves this session."""
        return self.connection.info.backend_pid

    @property
    def server_version(self) -> int:
        """PostgreSQL's version number, such as 150018."""
        return self.connection.info.server_version

    def execute(self, query: Query, params: Params = None) -> int:
        """Run a statement and return the number of rows it touched (0 where it touches none)."""
        with translated():
            return max(self.connection.execute(query, params).rowcount, 0)

    def rows(self, query: Query, params: Params = None) -> list[Row]:
        """Run a query and return all its rows."""
        with translated():
            return self.connection.execute(query, params).fetchall()

    def row(self, query: Query, params: Params = None) -> Row | None:
        """Run a query and return its first row, or None if there is none."""
        with translated():
            return self.connection.execute(query, params).fetchone()

    def scalar(self, query: Query, params: Params = None) -> Any:
        """Run a query and return the first column of its first row, or None without a row."""
        row = self.row(query, params)
        return None if row is None else row[0]

    @contextmanager
    def writing(self, *, one_snapshot: bool = False) -> Iterator[None]:
        """Hold one transaction: commit at the end, roll back on an exception.

        With ``one_snapshot`` all its statements see the same moment, and a row that somebody else
        changed since is refused to them (DeadlockError, 40001). ``accounting``, where it is set,
        is held around the work of each, and commits what it writes even if the work is undone.
        """
        is_outermost = self.connection.info.transaction_status == TransactionStatus.IDLE
        undone: Exception | None = None
        with translated():
            with self.connection.transaction():
                if one_snapshot:
                    self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                if self.accounting is None or not is_outermost:
                    yield
                    return
                with self.accounting():
                    try:
                        with self.connection.transaction():
                            yield
                    except Exception as error:
                        if self.connection.info.transaction_status != TransactionStatus.INTRANS:
                            raise  # the connection is gone; nothing can be said of what it wrote
                        undone = error
            if undone is not None:
                raise undone

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold one READ ONLY snapshot; the server itself refuses anything that writes."""
        with translated(), self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield

    @contextmanager
    def by_key(self) -> Iterator[None]:
        """Let the planner find rows by index wherever there is one.

        A table that is being filled has no statistics: taken for tiny, it would be read whole for
        each row, and the plan that was made so would be kept. What is asked in there is asked for
        each batch, and so prepared: planning it anew took a twentieth of a batch's time.
        """
        self.execute("SET enable_seqscan = off")
        self.connection.prepare_threshold = _ASKED_OFTEN
        try:
            yield
        finally:
            self.connection.prepare_threshold = None
            if not self.connection.closed:
                self.execute("RESET enable_seqscan")

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Hold one transaction that is rolled back at its end, however it ends."""
        with translated(), self.connection.transaction(force_rollback=True):
            yield

    def named(self, application_name: str) -> None:
        """Tell pg_stat_activity who we are; cut to the server's 63 bytes by the server."""
        self.execute("SELECT set_config('application_name', %s, false)", (application_name,))

    def cancel(self) -> None:
        """Ask the server to cancel what this session is doing; safe from a signal handler."""
        self.connection.cancel()

    def close(self) -> None:
        """Close the connection; a broken one is closed without a word."""
        self.connection.close()
        if self.companion is not None:
            self.companion.close()
