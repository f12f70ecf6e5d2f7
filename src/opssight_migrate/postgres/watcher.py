"""A process of its own that stops a private PostgreSQL when the last command using it has ended.

Cluster runs this file by its path (``python -I -S``), so it imports the standard library only.
It knows its command through a pipe: one byte says "I have finished", an end without a byte says
that the command was killed. A lock that every user shares says whether the server is still used.
The kernel lets go of both even after kill -9, on every POSIX system.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

DATA = "data"
IN_USE = "in-use"
FINISHED = b"."

_LEAVING = "leaving"
_EX = fcntl.LOCK_EX
_FAST_SHUTDOWN_S = 60.0
_IMMEDIATE_SHUTDOWN_S = 10.0
_STARTING_S = 1.0
_POLL_S = 0.01


@dataclass(frozen=True)
class Postmaster:
    """What ``postmaster.pid`` says about a server; it may be long dead."""

    pid: int
    socket_dir: Path
    port: int

    @property
    def listens(self) -> bool:
        """True if somebody accepts connections on the socket and it is this process."""
        path = self.socket_dir / f".s.PGSQL.{self.port}"
        try:
            owner = path.with_name(f"{path.name}.lock").read_text().split("\n", 1)[0]
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(os.fspath(path))
        except OSError:
            return False
        return owner == str(self.pid)


def postmaster(home: Path) -> Postmaster | None:
    """Return what the cluster in ``home`` wrote down of its server, or None if nothing yet.

    Source: PostgreSQL 18, src/include/utils/pidfile.h (line 1 pid, 4 port, 5 socket directory).
    """
    try:
        lines = (home / DATA / "postmaster.pid").read_text(errors="surrogateescape").split("\n")
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), socket_dir=Path(lines[4]))
    except (OSError, ValueError, IndexError):
        return None


def listening(home: Path) -> Postmaster | None:
    """Return the server of the cluster in ``home`` if it is there, else None."""
    found = postmaster(home)
    return found if found is not None and found.listens else None


def forget_zombie(home: Path) -> bool:
    """Tell whether a crashed server left its lock files; take them away if only a zombie holds it.

    PostgreSQL itself replaces the lock files of a dead server, but it takes a zombie for alive,
    and in a container without an init nobody ever reaps one.
    """
    found = postmaster(home)
    if found is None:
        return False
    try:
        # Source: proc(5), /proc/pid/stat: the state follows the name, which is in parentheses.
        state = Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    if state == "Z":
        socket_lock = found.socket_dir / f".s.PGSQL.{found.port}.lock"
        for lock in (home / DATA / "postmaster.pid", socket_lock):
            lock.unlink(missing_ok=True)
    return True


def stop(home: Path, patience_s: float = 0.0) -> None:
    """Stop the server of the cluster in ``home`` and wait for its end; no server is fine too.

    ``patience_s`` is how long to look for a server that may be just starting.
    """
    until = time.monotonic() + patience_s
    while (found := listening(home)) is None and time.monotonic() < until:
        time.sleep(_POLL_S)
    if found is None:
        return
    # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
    for signal_number, within_s in (
        (signal.SIGINT, _FAST_SHUTDOWN_S),
        (signal.SIGQUIT, _IMMEDIATE_SHUTDOWN_S),
    ):
        os.kill(found.pid, signal_number)
        if _has_ended(home, found.pid, within_s):
            return


def _has_ended(home: Path, pid: int, within_s: float) -> bool:
    # The file goes away last. The pid does not where nobody reaps (a container without an init).
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        now = postmaster(home)
        if now is None or now.pid != pid:
            return True
        time.sleep(_POLL_S)
    return False


def _become_owner_of(home: Path) -> None:
    # As root we would send signals to whatever number an unprivileged user wrote into a file.
    if os.geteuid() == 0:
        owner = home.stat()
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def main(home: Path) -> None:
    """Wait for the end of the command at the other end of stdin, then stop an unused server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    in_use = os.open(home / IN_USE, os.O_RDWR | os.O_NOFOLLOW)
    _become_owner_of(home)
    if os.read(0, 1) == FINISHED:
        # One at a time, or the looks of two that finish at once are users to each other.
        fcntl.flock(os.open(home / _LEAVING, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), _EX)
        if _was_the_last(in_use):
            stop(home)
    else:
        # Killed: its lock may outlive its pipe for a moment, so wait until nobody holds it.
        fcntl.flock(in_use, _EX)
        stop(home, patience_s=_STARTING_S)


def _was_the_last(in_use: int) -> bool:
    # Whoever still holds the lock has a watcher of their own; but if that watcher is stopping the
    # server at this moment (its command was killed), ours has not stopped yet.
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(in_use, _EX | fcntl.LOCK_NB)
            return True
        with suppress(BlockingIOError):
            fcntl.flock(in_use, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
