"""pg_dump as a stream that ends well only if pg_dump did."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from opssight_migrate.backups.restore import Restoring
from opssight_migrate.backups.seal import CHUNK_BYTES
from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.failures import masked
from opssight_migrate.postgres.siblings import ProgramConnection

_LINES = 5
_PIPE_BYTES = 1 << 20
# pg_dump writes a pipe by 4 KiB, which took a twentieth of a backup's processor time. Where
# coreutils are, this has it write by more; it becomes pg_dump then, with the same pid.
_STDBUF, _BY = "stdbuf", "--output=256K"
# Whoever waits to alter a table that we hold, with us behind him, would wait for ever.
_LOCK_WAIT_MS = 120_000


class Dump:
    """A running pg_dump of one snapshot, read like a file; ``tee`` gets a copy of each byte;
    ``options`` of pg_dump say what of the database it takes, by default all.

    A killed pg_dump leaves a stream that looks whole. So the end is told to the reader only after
    the exit code was looked at, and ``read`` raises where it was not 0.
    """

    def __init__(
        self,
        clients: Clients,
        connection: ProgramConnection,
        snapshot: str,
        *,
        tee: Restoring | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self._tee = tee
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *_by_more(),
                clients.program("pg_dump"),
                "--format=custom",
                "--compress=0",  # ours is faster, and smaller
                "--no-password",
                f"--lock-wait-timeout={_LOCK_WAIT_MS}",
                f"--snapshot={snapshot}",
                "--dbname",
                connection.conninfo,
                *options,
            ],
            env=connection.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=CHUNK_BYTES,
        )
        assert self._process.stdout is not None
        _widen(self._process.stdout)

    def read(self, size: int = -1) -> bytes:
        """Return the next piece; nothing at an end that is good.

        Raises: BackupError, with pg_dump's own words.
        """
        assert self._process.stdout is not None
        piece = self._process.stdout.read(CHUNK_BYTES if size < 0 else size) or b""
        if not piece:
            if code := self._process.wait():
                raise BackupError(
                    f"pg_dump ended with {_ending(code)}: {self._words()}",
                    hint="mend that, and give the same command again",
                )
            return b""
        if self._tee is not None:
            self._tee.write(piece)
        return piece

    def kill(self) -> None:
        """End pg_dump, if it still runs, and let go of what it said."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()

    def _words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return masked("; ".join(lines[:_LINES])) or "it said nothing"


def _by_more() -> tuple[str, ...]:
    return (found, _BY) if (found := shutil.which(_STDBUF)) else ()


def _widen(pipe: IO[bytes]) -> None:
    """Let pg_dump write ahead while we compress; where that is not allowed the pipe stays."""
    if (resize := getattr(fcntl, "F_SETPIPE_SZ", None)) is not None:  # Linux has it
        with suppress(OSError):
            fcntl.fcntl(pipe, resize, _PIPE_BYTES)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
