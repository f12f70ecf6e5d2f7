"""The shelf: the directory where backups lie, and what lies there."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from opssight_migrate.backups import manifest as manifests
from opssight_migrate.backups.laying import PREFIX, Laying, laying
from opssight_migrate.backups.manifest import Manifest
from opssight_migrate.model.errors import BackupError, ManifestError

_NAME = re.compile(r"backup_(?P<environment>.+)_\d{8}T\d{12}Z\.manifest\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A backup that lies on the shelf: its manifest, with that one's SHA-256, beside its parts."""

    manifest_path: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the dump, in the order of their restore."""
        return tuple(self.manifest_path.with_name(part.name) for part in self.manifest.parts)

    @property
    def path(self) -> Path:
        """The one file that stands for all of it: the dump, or the manifest of several parts."""
        return self.paths[0] if len(self.paths) == 1 else self.manifest_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """Something on the shelf that is called like a backup and is none."""

    path: Path
    error: BackupError


class Shelf:
    """One directory, which is made when the first backup is put there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def new_name(self, environment: str) -> str:
        """Return the name of a backup that begins now, without an ending."""
        return f"{PREFIX}{environment}_{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"

    def laying(self, stem: str) -> AbstractContextManager[Laying]:
        """Lend a place for the files of the backup that ``new_name`` called ``stem``."""
        return laying(self.directory, stem)

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

    def remove(self, backup: Shelved) -> None:
        """Remove a backup: its manifest first, and then there is none any more."""
        stem = backup.manifest_path.name.removesuffix(manifests.SUFFIX)
        backup.manifest_path.unlink(missing_ok=True)
        for path in backup.paths:
            if path.name.startswith(f"{stem}."):  # and not what somebody wrote into a manifest
                path.unlink(missing_ok=True)


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
    if any(Path(part.name).name != part.name for part in manifest.parts):
        raise ManifestError("the manifest names a file elsewhere", where=str(manifest_path))
    return Shelved(
        manifest_path=manifest_path,
        manifest=manifest,
        manifest_sha256=manifests.sha256_of(content),
    )


def _manifest_of(path: Path) -> Path:
    if path.name.endswith(manifests.SUFFIX):
        return path
    return path.with_name(path.name.split(".", 1)[0] + manifests.SUFFIX)
