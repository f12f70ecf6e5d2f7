"""The shelf: the directory where backups lie, and what lies there."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from opssight_migrate.backups import manifest as manifests
from opssight_migrate.backups.manifest import Manifest
from opssight_migrate.model.errors import BackupError, ManifestError

PREFIX = "backup_"
_PARTIAL = ".partial"
_NAME = re.compile(r"backup_(?P<environment>.+)_\d{8}T\d{12}Z\.manifest\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A backup that lies on the shelf: its dump, its manifest, and that manifest's SHA-256."""

    path: Path
    manifest_path: Path
    manifest: Manifest
    manifest_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """Something on the shelf that is called like a backup and is none."""

    path: Path
    error: BackupError


class Shelf:
    """One directory. It is made, 0700, when the first backup is put there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def new_name(self, environment: str) -> str:
        """Return the name of a backup that begins now, without an ending."""
        return f"{PREFIX}{environment}_{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file that gets its ``name`` at the end, synced, or vanishes with an exception.

        What a killed process left here is swept first. Raises: BackupError.
        """
        partial = self.directory / f".{name}{_PARTIAL}"
        try:
            self._make()
            self._sweep()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(partial, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
                os.fsync(file.fileno())
                os.link(partial, self.directory / name)  # never over a file that is there
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                partial.unlink()
        self._sync()

    def put_manifest(self, manifest: Manifest, name: str) -> Shelved:
        """Write the manifest: from here on the backup is one."""
        content = manifest.to_json().encode()
        with self.writing(name + manifests.SUFFIX) as file:
            file.write(content)
        return Shelved(
            path=self.directory / manifest.file.name,
            manifest_path=self.directory / (name + manifests.SUFFIX),
            manifest=manifest,
            manifest_sha256=manifests.sha256_of(content),
        )

    def listed(self, environment: str | None = None) -> list[Shelved | Spoilt]:
        """Return what lies here, newest first; of one environment, or of all for None."""
        found: list[tuple[str, Shelved | Spoilt]] = []
        for path in self.directory.glob(f"{PREFIX}*{manifests.SUFFIX}"):
            named = _NAME.fullmatch(path.name)
            if named is None or environment not in (None, named["environment"]):
                continue
            try:
                found.append((path.name, taken(path)))
            except BackupError as error:
                found.append((path.name, Spoilt(path=path, error=error)))
        moment = len("YYYYmmddTHHMMSSffffffZ") + len(manifests.SUFFIX)
        return [one for _, one in sorted(found, key=lambda pair: pair[0][-moment:], reverse=True)]

    def newest(self, environment: str, *, proven: bool = False) -> Shelved | None:
        """Return the newest backup of an environment, or the newest proven one."""
        for one in self.listed(environment):
            if isinstance(one, Shelved) and (one.manifest.proven or not proven):
                return one
        return None

    def _make(self) -> None:
        for path in reversed([self.directory, *self.directory.parents]):
            if not path.exists():
                path.mkdir(mode=0o700 if path == self.directory else 0o755, exist_ok=True)

    def _sweep(self) -> None:
        """Remove what no living process writes any more: it holds a lock on what it writes."""
        for path in self.directory.glob(f".{PREFIX}*{_PARTIAL}"):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def _sync(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _unwritable(self, error: OSError) -> BackupError:
        return BackupError(
            f"no backup can be written in {self.directory}: {error.strerror}",
            where=str(self.directory),
            hint="make room there, or name another directory as backup_dir",
        )


def has_manifest(path: Path) -> bool:
    """Tell whether a manifest lies beside the dump at ``path``, or it is one itself."""
    return _manifest_of(path).is_file()


def taken(path: Path) -> Shelved:
    """Return the backup whose dump or manifest lies at ``path``, wherever that is.

    Raises: BackupError if there is no such file, ManifestError for its manifest.
    """
    manifest_path = _manifest_of(path)
    hint = "opssight-migrate backup list"
    if not path.exists():
        raise BackupError(f"there is no backup {path}", where=str(path), hint=hint)
    try:
        content = manifest_path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"the manifest of {path.name} cannot be read: {error.strerror}",
            where=str(manifest_path),
            hint=hint,
        ) from None
    manifest = manifests.read(content, str(manifest_path))
    if Path(manifest.file.name).name != manifest.file.name:
        raise ManifestError("the manifest names a file elsewhere", where=str(manifest_path))
    return Shelved(
        path=manifest_path.with_name(manifest.file.name),
        manifest_path=manifest_path,
        manifest=manifest,
        manifest_sha256=manifests.sha256_of(content),
    )


def _manifest_of(path: Path) -> Path:
    if path.name.endswith(manifests.SUFFIX):
        return path
    stem = path.name.removesuffix(".age").removesuffix(".dump")
    return path.with_name(stem + manifests.SUFFIX)
