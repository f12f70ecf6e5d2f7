"""pg_restore as a sink: what is written to it, or lies in an archive, is restored, or raises."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from opssight_migrate.backups import complaints
from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.siblings import ProgramConnection

_UNKNOWN_SETTING = b"SET transaction_timeout = 0;\n"
_FIRST_DATA = b"COPY "
# A pg_restore that was built without the archive's compression warns, and restores no row.
UNREADABLE = "does not support compression"


class Restoring:
    """A running restore of an archive of pg_dump -Fc into an empty database.

    ``archive`` is a file or directory that is read instead of what is written.
    A pg_restore of 17 or newer sets what older servers do not know; for these it writes SQL that
    goes through psql without that line.
    """

    def __init__(
        self,
        clients: Clients,
        connection: ProgramConnection,
        *,
        server_major: int,
        as_owner: bool,
        archive: Path | None = None,
        only: Sequence[str] = (),
    ) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._psql: subprocess.Popen[bytes] | None = None
        self._strainer: threading.Thread | None = None
        strained = clients.says_too_much_for(server_major)
        command = [clients.program("pg_restore"), "--exit-on-error", "--no-password", *only]
        command += [] if as_owner else ["--no-owner", "--no-privileges"]
        command += ["--file=-"] if strained else ["--dbname", connection.conninfo]
        command += [] if archive is None else [str(archive)]
        self._process = subprocess.Popen(
            command,
            env=connection.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if strained else subprocess.DEVNULL,
            stderr=self._said,
        )
        if strained:
            self._psql = subprocess.Popen(
                [
                    clients.program("psql"), "--no-psqlrc", "--quiet", "--no-password",
                    "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname", connection.conninfo,
                ],
                env=connection.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
            )  # fmt: skip
            self._strainer = threading.Thread(target=self._strain, daemon=True)
            self._strainer.start()

    def write(self, data: bytes) -> int:
        """Hand on a piece of the archive.

        Raises: BackupError, with the program's own words, if it has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            raise self._failed() from None
        return len(data)

    def flush(self) -> None:
        """Do nothing: the end is told by ``finish``."""

    def finish(self) -> None:
        """Tell that the archive is whole and wait until it is restored.

        Raises: BackupError.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            raise self._failed() from None
        code = self._process.wait()
        if self._strainer is not None and self._psql is not None:
            self._strainer.join()
            code = code or self._psql.wait()
        if code or UNREADABLE in complaints.words(self._said):
            raise self._failed()

    def kill(self) -> None:
        """End the programs, if they still run."""
        for process in (self._process, self._psql):
            if process is None:
                continue
            if process.poll() is None:
                process.kill()
            process.wait()
        if self._strainer is not None:
            self._strainer.join()
        for process in (self._process, self._psql):
            for stream in (process.stdin, process.stdout) if process else ():
                if stream is not None:
                    with suppress(BrokenPipeError):  # what was still to be written went nowhere
                        stream.close()
        self._said.close()

    def _strain(self) -> None:
        assert self._psql is not None
        assert self._process.stdout is not None
        assert self._psql.stdin is not None
        is_in_preamble = True
        try:
            while line := self._process.stdout.readline():
                if is_in_preamble and line == _UNKNOWN_SETTING:
                    continue
                is_in_preamble = is_in_preamble and not line.startswith(_FIRST_DATA)
                self._psql.stdin.write(line)
            if self._process.wait() == 0:
                self._psql.stdin.close()
            else:
                self._psql.kill()  # so that nothing of half an archive is taken for the whole
        except BrokenPipeError:
            self._process.kill()

    def _failed(self) -> BackupError:
        for process in (self._process, self._psql):
            if process is not None:
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
        return complaints.not_restored(complaints.words(self._said))
