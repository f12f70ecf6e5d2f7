"""How busy a server is: connections, cache, and its processes where it runs on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from opssight_migrate.model.events import MachineLoad
from opssight_migrate.postgres.session import Session

# A background process that is connected counts as well: a few at most.
_CONNECTIONS = """
SELECT (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database),
       current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0),
       (SELECT numbackends FROM pg_stat_database WHERE datid = d.oid), d.datconnlimit
  FROM pg_database AS d WHERE d.datname = current_database()
"""
_CACHE = """
SELECT blks_hit, blks_read FROM pg_stat_database WHERE datname = current_database()
"""
_INDEX_USE = """
SELECT coalesce(sum(idx_scan), 0), coalesce(sum(idx_scan + seq_scan), 0)
  FROM pg_stat_user_tables WHERE schemaname = 'public'
"""
# NULL to a role that may not see it.
_HOME = """
SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory'),
       EXTRACT(epoch FROM pg_postmaster_start_time())::int8
"""
_SAMPLE_S = 0.1
_CLOCKS_DIFFER_S = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Connections in use out of those that may be, of whatever is scarcer: server or database."""

    used: int
    most: int

    @property
    def share(self) -> float:
        """How much of it is taken, 0 to 1 and more."""
        return self.used / max(self.most, 1)


def connections(session: Session) -> Connections:
    """Count connections; one that comes and goes counts while it is there."""
    row = session.row(_CONNECTIONS) or (0, 1, 0, -1)
    everywhere = Connections(used=int(row[0]), most=int(row[1]))
    if row[3] is None or row[3] < 0:
        return everywhere
    here = Connections(used=int(row[2]), most=int(row[3]))
    return max(everywhere, here, key=lambda one: one.share)


def cache_hit(session: Session) -> float | None:
    """Return the share of page reads that the server's cache served since its counters began."""
    hit, read = session.row(_CACHE) or (0, 0)
    return hit / (hit + read) if hit + read else None


def index_use(session: Session) -> float | None:
    """Return the share of scans that went by an index since the counters began."""
    by_index, scans = session.row(_INDEX_USE) or (0, 0)
    return float(by_index) / float(scans) if scans else None


def machine(session: Session) -> MachineLoad | None:
    """Look at the server's processes; None where its data directory is not on this machine."""
    postmaster = _postmaster(session)
    if postmaster is None:
        return None
    try:
        family = [postmaster, *postmaster.children(recursive=True)]
        psutil.cpu_percent()
        began, before = time.monotonic(), _cpu_seconds(family)
        time.sleep(_SAMPLE_S)
        used = (_cpu_seconds(family) - before) / (time.monotonic() - began)
        memory = psutil.virtual_memory()
        return MachineLoad(
            cpu_percent=psutil.cpu_percent(),
            server_cpu_percent=round(100 * max(used, 0.0) / (psutil.cpu_count() or 1), 1),
            memory_bytes=memory.total,
            available_bytes=memory.available,
            server_bytes=_proportional_bytes(family),
        )
    except psutil.Error:
        return None


def _postmaster(session: Session) -> psutil.Process | None:
    """Return the server's first process, if the one on this machine is that of this server."""
    home, started = session.row(_HOME) or (None, 0)
    if not home:
        return None
    try:
        lines = Path(home, "postmaster.pid").read_text(encoding="utf-8").splitlines()
        pid, since = int(lines[0]), int(lines[2])
        is_it = Path(lines[1]) == Path(home) and abs(since - int(started)) <= _CLOCKS_DIFFER_S
        return psutil.Process(pid) if is_it else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _cpu_seconds(family: list[psutil.Process]) -> float:
    spent = 0.0
    for process in family:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # a connection that ended
        spent += times.user + times.system
    return spent


def _proportional_bytes(family: list[psutil.Process]) -> int | None:
    total = 0
    for process in family:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        except (psutil.AccessDenied, AttributeError):
            return None
    return total
