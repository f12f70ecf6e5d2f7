"""Sealing to public keys with age as the bytes stream by, and opening with an identity."""

from __future__ import annotations

import hashlib
import importlib
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pydantic import SecretStr

from opssight_migrate.model.errors import (
    BackupError,
    ConfigError,
    DamagedBackupError,
    WrongKeyError,
)

# It has no stubs, and its names are made at run time.
pyrage: Any = importlib.import_module("pyrage")

CHUNK_BYTES = 1 << 18
SUFFIX = ".age"

_NO_KEY = "No matching keys"
_COMMAND_S = 60.0


class Source(Protocol):
    """Whatever bytes are read from; nothing read is the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Sink(Protocol):
    """Whatever bytes are written to."""

    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...


class Counted:
    """Writes on to a file, counts and hashes, and remembers what went wrong.

    age reports a last write that failed as success, so whoever seals asks ``error`` afterwards.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.error: OSError | None = None

    @property
    def sha256(self) -> str:
        """The hash of all that was written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise


class Watched:
    """Reads from a source and remembers what it raised: age tells of it as text only."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        """Read the next piece."""
        try:
            return self._source.read(size)
        except BaseException as error:
            self.error = error
            raise


def seal(source: Source, sink: Counted, recipients: Sequence[str]) -> None:
    """Copy ``source`` into ``sink``, sealed to ``recipients``, or plain where there are none.

    Raises: BackupError when a byte could not be written, and whatever ``source`` raises.
    """
    watched = Watched(source)
    try:
        if recipients:
            pyrage.encrypt_io(watched, sink, [_recipient(one) for one in recipients])
        else:
            while piece := watched.read(CHUNK_BYTES):
                sink.write(piece)
        sink.flush()
    except (pyrage.EncryptError, OSError) as error:
        if watched.error is None and sink.error is None:
            raise BackupError(f"the backup could not be sealed: {error}") from error
    if watched.error is not None:
        raise watched.error
    if sink.error is not None:
        raise BackupError(
            f"the backup could not be written: {sink.error.strerror}",
            hint="make room, or name another directory as backup_dir",
        ) from sink.error


def open_sealed(source: BinaryIO, sink: Sink, identities: Sequence[Any]) -> None:
    """Write what was sealed into ``sink``.

    Good pieces arrive before a bad one is met, so a restore does this twice: once into nothing.

    Raises: WrongKeyError, DamagedBackupError, and what ``sink`` raises.
    """
    kept = _Keeping(sink)
    try:
        pyrage.decrypt_io(source, kept, list(identities))
    except pyrage.DecryptError as error:
        if _NO_KEY in str(error):
            raise WrongKeyError(
                "the backup was not sealed to this identity",
                hint="give the identity whose public key stands in backup_recipients: --identity",
            ) from error
        raise DamagedBackupError(f"the backup's seal is broken: {error}") from error
    except OSError as error:
        if kept.error is not None:
            raise kept.error from error
        raise DamagedBackupError(f"the backup's seal is broken: {error}") from error


def refuse_wrong_key(source: BinaryIO, identities: Sequence[Any]) -> None:
    """Open the first piece of what was sealed, and no more.

    Raises: WrongKeyError, DamagedBackupError.
    """
    with suppress(_EnoughError):
        open_sealed(source, _First(), identities)


class _EnoughError(Exception):
    pass


class Nothing:
    """A sink that keeps nothing."""

    def write(self, data: bytes) -> int:
        """Forget ``data``."""
        return len(data)

    def flush(self) -> None:
        """Do nothing."""


class _First(Nothing):
    def write(self, data: bytes) -> int:
        del data
        raise _EnoughError


class _Keeping:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self._sink.write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        self._sink.flush()


def identities_from(path: Path) -> list[Any]:
    """Read age identities, or one ssh private key, from a file.

    Raises: ConfigError, never quoting the file.
    """
    try:
        return _identities(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(
            f"cannot read the identity {path}: {error.strerror}", hint="name it with --identity"
        ) from None


def identities_printed_by(command: SecretStr) -> list[Any]:
    """Run ``backup_identity_command`` and read the identities that it prints.

    Raises: ConfigError.
    """
    name = "backup_identity_command"
    return _identities(printed_by(command, name).get_secret_value().encode(errors="replace"), name)


def printed_by(command: SecretStr, name: str) -> SecretStr:
    """Run the command of the key ``name`` and return what it prints, without the last line's end.

    Raises: ConfigError, also if that is nothing.
    """
    printed = b""
    try:
        done = subprocess.run(
            shlex.split(command.get_secret_value()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_COMMAND_S,
            check=False,
        )
        printed = done.stdout.rstrip(b"\r\n")
        trouble = f"ended with exit code {done.returncode}" if done.returncode else ""
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        trouble = "cannot be run"
    if not trouble and not printed:
        trouble = "printed nothing"
    if trouble:
        raise ConfigError(f"{name} {trouble}", hint="try the command by hand")
    return SecretStr(printed.decode(errors="surrogateescape"))


def refuse_bad_recipients(recipients: Sequence[str]) -> None:
    """Raise ConfigError for the first recipient that is no public key, before anything starts."""
    for one in recipients:
        _recipient(one)


def _recipient(text: str) -> Any:
    try:
        if text.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(
            f"backup_recipients: {text[:16]}... is no public key of age or ssh: {error}",
            hint="age-keygen -y identity.txt prints the public key of an identity",
        ) from None


def _identities(content: bytes, where: str) -> list[Any]:
    try:
        if content.lstrip().startswith(b"-----BEGIN"):
            return [pyrage.ssh.Identity.from_buffer(content)]
        lines = [line.strip() for line in content.decode().splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        found = [pyrage.x25519.Identity.from_str(key) for key in keys]
    except (pyrage.IdentityError, UnicodeDecodeError):
        # Its reason is not repeated: it may quote a piece of a secret key.
        found = []
    if not found:
        raise ConfigError(
            f"{where} holds no identity of age or ssh",
            where=where,
            hint="an identity is a line AGE-SECRET-KEY-1...; age-keygen makes one",
        )
    return found
