"""The server has connections left; its cache, CPU and memory are told beside."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.events import ServerSeen
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import server_load
from opssight_migrate.postgres.server_load import Connections
from opssight_migrate.postgres.session import Session

_TOO_FULL = 0.9
_LOOKS = 3
_BETWEEN_LOOKS_S = 0.3


class ServerHasRoom(Check):
    """Connections are judged; the rest depends on what the server is for, and is only told."""

    id = "server-has-room"
    title = "The server has connections left"
    category = "performance"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look; a burst that is over by the third look is none."""
        taken = _connections(ctx.session)
        ctx.emit(
            ServerSeen(
                connections=taken.used,
                connections_most=taken.most,
                cache_hit=server_load.cache_hit(ctx.session),
                index_use=server_load.index_use(ctx.session),
                machine=server_load.machine(ctx.session),
            )
        )
        if taken.share >= _TOO_FULL:
            yield Finding(
                check_id=self.id,
                severity=Severity.WARN,
                message=f"{taken.used} of {taken.most} connections are in use",
                hint="end idle ones, or raise max_connections or the database's CONNECTION LIMIT",
            )


def _connections(session: Session) -> Connections:
    found = server_load.connections(session)
    for _ in range(_LOOKS - 1):
        if found.share < _TOO_FULL:
            break
        time.sleep(_BETWEEN_LOOKS_S)
        session.execute("SELECT pg_stat_clear_snapshot()")
        found = min(found, server_load.connections(session), key=lambda one: one.share)
    return found
