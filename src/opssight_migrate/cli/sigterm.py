"""SIGTERM before a run has begun: like Ctrl-C, so that the document and exit 143 still come."""

from __future__ import annotations

import signal
from types import FrameType


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived. Whoever handles Ctrl-C handles it, and a run has a handler of its own."""


def listen() -> None:
    """Turn SIGTERM into an exception from now on; one that is ignored stays so."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise TerminatedError
