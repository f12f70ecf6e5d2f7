"""SIGINT, SIGTERM and the deadline: the work in flight is finished; a second signal cancels it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from opssight_migrate.model.errors import (
    DeadlineError,
    InterruptedRunError,
    MigrateError,
    TerminatedRunError,
)
from opssight_migrate.model.events import Emit, StopRequested
from opssight_migrate.postgres.session import Session


class StopSignal:
    """Remembers that a signal came. ``pause_point`` is where the engine can stop cleanly.

    ``deadline_s`` is how long from now the engine may go on; None for ever.
    """

    def __init__(self, session: Session, emit: Emit, *, deadline_s: float | None = None) -> None:
        self._session = session
        self._emit = emit
        self._ends_at = None if deadline_s is None else monotonic() + deadline_s
        self._received: signal.Signals | None = None

    def pause_point(self) -> None:
        """Stop here if somebody asked for it.

        Raises: InterruptedRunError after SIGINT, TerminatedRunError after SIGTERM, DeadlineError.
        """
        if self._received is not None:
            raise _stopped(self._received, "after the work in flight was committed")
        if self._ends_at is not None and monotonic() >= self._ends_at:
            raise DeadlineError(
                "the deadline is reached: stopped after the work in flight was committed",
                hint="the same command goes on from here",
            )

    def reason(self, error: MigrateError) -> MigrateError:
        """Return what ended the run: the signal, if ``error`` is that we cancelled a statement."""
        if self._received is None or error.sqlstate != _QUERY_CANCELED:
            return error
        return _stopped(self._received, "and the statement in flight was cancelled")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals for the length of a run, then put the old handlers back.

        psycopg would cancel the statement at SIGINT and leave it running at SIGTERM; this way
        both are told apart by their number and not by chance.
        """
        old = {number: signal.signal(number, self._hear) for number in _HANDLED}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._received is not None:
            self._session.cancel()
            return
        self._received = signal.Signals(number)
        self._emit(StopRequested(signal_name=self._received.name))


def _stopped(received: signal.Signals, how: str) -> InterruptedRunError:
    error = TerminatedRunError if received is signal.SIGTERM else InterruptedRunError
    return error(f"stopped by {received.name}, {how}", hint="the same command goes on from here")


_HANDLED = (signal.SIGINT, signal.SIGTERM)
_QUERY_CANCELED = "57014"
