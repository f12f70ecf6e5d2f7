"""Whether a backup on the shelf is still what was written, and opens, and restores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from opssight_migrate.backups import comparison, manifest, scratch, seal
from opssight_migrate.backups.compression import Expanded
from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.manifest import DumpPart, Manifest
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.backups.seal import Sink
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.model.errors import DamagedBackupError, ForeignBackupError
from opssight_migrate.postgres import clients, siblings
from opssight_migrate.postgres.properties import DatabaseProperties
from opssight_migrate.postgres.session import Session

_HINT = "take another backup: opssight-migrate backup list"


def check_file(backup: Shelved, key: SecretStr | None) -> bool:
    """Compare size and SHA-256 of each part; return whether the manifest's HMAC could be checked.

    Raises: DamagedBackupError, ManifestError.
    """
    was_signed = manifest.check_signature(backup.manifest, key, str(backup.manifest_path))
    for part, path in _parts(backup):
        with _opened(path) as file:
            _compare(file, part, path)
    return was_signed


def refuse_other_environment(backup: Shelved, environment: str) -> None:
    """Raise ForeignBackupError for a backup of another environment."""
    made = backup.manifest
    if made.environment != environment:
        raise ForeignBackupError(
            f"this is a backup of environment {made.environment!r}, not of {environment!r}",
            where=str(backup.path),
            hint="opssight-migrate backup list",
        )


def refuse_other_database(backup: Shelved, system_identifier: str, database: str) -> None:
    """Raise ForeignBackupError for a backup of another database or another server."""
    origin = backup.manifest.origin
    if (origin.system_identifier, origin.name) != (system_identifier, database):
        raise ForeignBackupError(
            f"this is a backup of another database: {origin.name} of server"
            f" {origin.system_identifier or 'unknown'}",
            where=str(backup.path),
            hint="opssight-migrate backup list",
        )


def check_key(backup: Shelved, identities: Sequence[Any]) -> None:
    """Look whether the identities open the backup, before anything long is begun with it.

    Raises: WrongKeyError, DamagedBackupError.
    """
    if backup.manifest.is_sealed:
        with _opened(backup.paths[0]) as file:
            seal.refuse_wrong_key(file, identities)


def check_seal(backup: Shelved, identities: Sequence[Any]) -> None:
    """Open every part, whole, into nothing; a plain one needs no identity.

    Raises: WrongKeyError, DamagedBackupError.
    """
    keys = identities if backup.manifest.is_sealed else None
    for path in backup.paths:
        with _opened(path) as file:
            _pour(file, seal.Nothing(), keys)


def check_restore(backup: Shelved, identities: Sequence[Any], session: Session) -> None:
    """Restore into a scratch database on the session's server and compare every table.

    Raises: NotProvenError, BackupError, PrivilegeError.
    """
    like = _properties(backup.manifest)
    with scratch.scratch(session, like) as database:
        restore_into(backup, identities, session, database, as_owner=False)
        comparison.refuse_differences(session, database, backup.manifest.tables)


def restore_into(
    backup: Shelved,
    identities: Sequence[Any],
    session: Session,
    database: str,
    *,
    as_owner: bool,
) -> None:
    """Restore into the empty ``database`` on the session's server.

    Every part is opened whole before the first byte of any is used, and both times it is the same
    file.

    Raises: WrongKeyError, DamagedBackupError, BackupError, ClientToolError.
    """
    major = session.server_version // 10_000
    tools = clients.for_restore(major, backup.manifest.dumped_by_major, over_tls=uses_tls(session))
    reached = siblings.for_program(session, database)
    keys = identities if backup.manifest.is_sealed else None
    with ExitStack() as stack:
        files: list[BufferedReader] = []
        for part, path in _parts(backup):
            file = stack.enter_context(_opened(path))
            _compare(file, part, path)
            file.seek(0)
            _pour(file, seal.Nothing(), keys)
            file.seek(0)
            files.append(file)
        for file in files:
            restoring = Restoring(tools, reached, server_major=major, as_owner=as_owner)
            try:
                _pour(file, restoring, keys)
                restoring.finish()
            finally:
                restoring.kill()


def _pour(file: BufferedReader, sink: Sink, keys: Sequence[Any] | None) -> None:
    """Write the archive that is in ``file`` into ``sink``, as pg_dump wrote it."""
    expanded = Expanded(sink)
    if keys is not None:
        seal.open_sealed(file, expanded, keys)
    else:
        while piece := file.read(seal.CHUNK_BYTES):
            expanded.write(piece)
    expanded.finish()


def _parts(backup: Shelved) -> Iterator[tuple[DumpPart, Path]]:
    return zip(backup.manifest.parts, backup.paths, strict=True)


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DamagedBackupError(
            f"the backup cannot be read: {error.strerror}", where=str(path), hint=_HINT
        ) from None


def _compare(file: BufferedReader, expected: DumpPart, path: Path) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != expected.bytes:
        raise DamagedBackupError(
            f"the backup has {size:,} bytes, and {expected.bytes:,} were written",
            where=str(path),
            hint=_HINT,
        )
    if hashlib.file_digest(file, "sha256").hexdigest() != expected.sha256:
        raise DamagedBackupError(
            "the backup is not byte for byte what was written (SHA-256)",
            where=str(path),
            hint=_HINT,
        )


def _properties(made: Manifest) -> DatabaseProperties:
    return DatabaseProperties(**{name: getattr(made.properties, name) for name in _NAMES})


_NAMES = tuple(manifest.Properties.model_fields)
