"""Sessions that hold a transaction open and sleep; ended only where the operator asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from opssight_migrate.model.errors import PrivilegeError
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.postgres.session import Session

ASLEEP_S = 5.0

# What a role may not see of a session has no state.
_END = """
SELECT pid, usename::text, application_name,
       EXTRACT(epoch FROM clock_timestamp() - xact_start)::float8,
       CASE WHEN state LIKE 'idle in transaction%%'
             AND state_change < clock_timestamp() - make_interval(secs => %(asleep)s)
            THEN pg_terminate_backend(pid) WHEN state IS NOT NULL THEN false END
  FROM pg_stat_activity
 WHERE pid = ANY(%(pids)s) AND coalesce(application_name, '') NOT LIKE 'opssight-migrate%%'
"""
_GRANTS = "GRANT pg_monitor, pg_signal_backend to this role"


def end(session: Session, pids: Sequence[int], emit: Emit) -> bool:
    """End those of ``pids`` that have been idle in a transaction for ASLEEP_S, and tell each.

    Return False, and say why, where this role may not see that or may not end them.
    """
    try:
        rows = session.rows(_END, {"pids": list(pids), "asleep": ASLEEP_S})
    except PrivilegeError as error:
        return _refused(emit, f"a blocker that sleeps cannot be ended: {error.message}")
    for pid, user, application, age_s, ended in rows:
        if ended:
            open_for = "" if age_s is None else f", open for {age_s:.0f} s"
            text = f"ended pid {pid}, user {user}, application {application!r}"
            text += f": it slept in a transaction{open_for}"
            emit(Noted(severity="warning", message=text))
    if any(ended is None for *_, ended in rows):
        return _refused(emit, "whether a blocker sleeps is not visible: it is waited for")
    return True


def _refused(emit: Emit, message: str) -> bool:
    emit(Noted(severity="warning", message=message, hint=_GRANTS))
    return False
