"""psql as the reader of a plain SQL dump: all in one transaction, or nothing."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Iterable

from opssight_migrate.backups import complaints
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.siblings import ProgramConnection


def run(clients: Clients, connection: ProgramConnection, lines: Iterable[bytes]) -> None:
    """Have psql carry out ``lines`` and stop at the first error; all of it is undone then.

    Where psql knows a restricted mode it refuses commands of its own there too, by a key that no
    file can know.

    Raises: BackupError, with psql's own words, and whatever ``lines`` raises.
    """
    command = [
        *(clients.program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--file=-"),
        *("--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null"),
        *("--dbname", connection.conninfo),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            env=connection.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        assert process.stdin is not None
        was_read = True
        try:
            if clients.has_restricted_mode:
                process.stdin.write(f"\\restrict {secrets.token_hex(16)}\n".encode())
            for line in lines:
                process.stdin.write(line)
        except BrokenPipeError:
            was_read = False  # its exit code says why; without one, half a script is no restore
        except BaseException:
            process.kill()
            raise
        finally:
            try:
                process.stdin.close()  # what is still in the buffer goes now
            except BrokenPipeError:
                was_read = False
            code = process.wait()
        if code or not was_read:
            raise complaints.not_restored(complaints.words(said))
