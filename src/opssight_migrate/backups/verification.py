"""Whether a backup on the shelf is still what was written, and opens, and restores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from io import BufferedReader
from typing import Any

from pydantic import SecretStr

from opssight_migrate.backups import comparison, manifest, scratch, seal
from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.manifest import Manifest
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.model.errors import DamagedBackupError, ForeignBackupError
from opssight_migrate.postgres import clients, siblings
from opssight_migrate.postgres.properties import DatabaseProperties
from opssight_migrate.postgres.session import Session

_HINT = "take another backup: opssight-migrate backup list"


def check_file(backup: Shelved, key: SecretStr | None) -> bool:
    """Compare size and SHA-256 with the manifest; return whether its HMAC could be checked.

    Raises: DamagedBackupError, ManifestError.
    """
    was_signed = manifest.check_signature(backup.manifest, key, str(backup.manifest_path))
    with _opened(backup) as file:
        _compare(file, backup)
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


def check_seal(backup: Shelved, identities: Sequence[Any]) -> None:
    """Open the whole file into nothing; a plain one needs no more than its SHA-256.

    Raises: WrongKeyError, DamagedBackupError.
    """
    if backup.manifest.file.sealed:
        with _opened(backup) as file:
            seal.open_sealed(file, seal.Nothing(), identities)


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

    The file is opened whole before its first byte is used, and both times it is the same file.

    Raises: WrongKeyError, DamagedBackupError, BackupError, ClientToolError.
    """
    major = session.server_version // 10_000
    tools = clients.for_restore(major, backup.manifest.dumped_by_major, over_tls=uses_tls(session))
    with _opened(backup) as file:
        _compare(file, backup)
        is_sealed = backup.manifest.file.sealed
        if is_sealed:
            file.seek(0)
            seal.open_sealed(file, seal.Nothing(), identities)
        file.seek(0)
        restoring = Restoring(
            tools,
            siblings.for_program(session, database),
            server_major=major,
            as_owner=as_owner,
        )
        try:
            if is_sealed:
                seal.open_sealed(file, restoring, identities)
            else:
                while piece := file.read(seal.CHUNK_BYTES):
                    restoring.write(piece)
            restoring.finish()
        finally:
            restoring.kill()


def _opened(backup: Shelved) -> BufferedReader:
    try:
        return backup.path.open("rb")
    except OSError as error:
        raise DamagedBackupError(
            f"the backup cannot be read: {error.strerror}", where=str(backup.path), hint=_HINT
        ) from None


def _compare(file: BufferedReader, backup: Shelved) -> None:
    expected = backup.manifest.file
    size = os.fstat(file.fileno()).st_size
    if size != expected.bytes:
        raise DamagedBackupError(
            f"the backup has {size:,} bytes, and {expected.bytes:,} were written",
            where=str(backup.path),
            hint=_HINT,
        )
    if hashlib.file_digest(file, "sha256").hexdigest() != expected.sha256:
        raise DamagedBackupError(
            "the backup is not byte for byte what was written (SHA-256)",
            where=str(backup.path),
            hint=_HINT,
        )


def _properties(made: Manifest) -> DatabaseProperties:
    return DatabaseProperties(**{name: getattr(made.properties, name) for name in _NAMES})


_NAMES = tuple(manifest.Properties.model_fields)
