"""Attempts that were refused because of who made them: a row in the journal, and nothing else."""

from __future__ import annotations

import getpass
import os
import socket
import uuid

from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

_ROLE = "SELECT session_user::text"
# Epoch -1: no run ever resumes it, or takes it for the newest.
_NOTE = """
INSERT INTO opssight_migrate.runs
    (id, lineage, epoch, command, environment, operator, os_user, host, pid, tool_version,
     server_version, settings_digest, plan_digest, revision_to, status, finished_at, error)
VALUES (%(id)s, ARRAY[%(id)s], -1, %(command)s, %(environment)s, session_user, %(os_user)s,
        %(host)s, %(pid)s, %(tool_version)s, %(server_version)s, '', '', %(target)s, 'refused',
        clock_timestamp(), %(why)s)
"""


def role_of(session: Session) -> str:
    """Return the role that logged in, whatever role it has taken since."""
    return str(session.scalar(_ROLE))


def note(
    session: Session,
    *,
    command: str,
    environment: str,
    target: str,
    tool_version: str,
    server_version: str,
    why: str,
) -> None:
    """Write the attempt down; nothing is written where there is no journal yet."""
    if not journal.exists(session):
        return
    with session.writing():
        session.execute(
            _NOTE,
            {
                "id": f"refused-{uuid.uuid4().hex[:12]}",
                "command": command,
                "environment": environment,
                "os_user": getpass.getuser(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "tool_version": tool_version,
                "server_version": server_version,
                "target": target,
                "why": why,
            },
        )
