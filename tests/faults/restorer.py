"""``opssight-migrate`` in a process of its own that is killed at a named place; argv says where.

``module:attribute`` is replaced by itself with kill -9 ``before`` or ``after`` its nth call.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

from opssight_migrate.cli.app import app


def plant(place: str, when: str, nth: int) -> None:
    """Put kill -9 into a function or a method."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for one in owners:
        owner = getattr(owner, one)
    real = getattr(owner, name)
    calls = 0

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if when == "before" and calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*arguments, **named)
        if when == "after" and calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, deadly)


if __name__ == "__main__":
    where, moment, number, *rest = sys.argv[1:]
    plant(where, moment, int(number))
    app(rest)
