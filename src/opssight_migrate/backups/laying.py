"""A backup on its way to the shelf: hidden until it is whole, swept when its process is killed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from opssight_migrate.backups import manifest as manifests
from opssight_migrate.model.errors import BackupError

PREFIX = "backup_"
_PARTIAL = ".partial"


class Laying:
    """The files of one backup. None has its name before all are written and synced, and the
    manifest gets its own last: what has no manifest is no backup.
    """

    def __init__(self, directory: Path, stem: str, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self._files: dict[str, BinaryIO] = {}
        self._named: list[Path] = []
        self._manifest = stem + manifests.SUFFIX
        # Made first, gone last, and locked between: it tells that somebody is at work here.
        self._mark = self._opened(self._manifest)
        fcntl.flock(self._mark, fcntl.LOCK_EX)
        _hidden(directory, self._manifest).lstat()  # nobody swept it before it was locked

    def part(self, name: str) -> BinaryIO:
        """Open a file that is called ``name`` once the backup is finished.

        Raises: BackupError.
        """
        with _in_our_words(self._directory):
            self._files[name] = self._opened(name)
        return self._files[name]

    def finish(self, content: bytes) -> None:
        """Give every file its name, and then ``content`` to the manifest.

        Raises: BackupError.
        """
        with _in_our_words(self._directory):
            for name, file in self._files.items():
                os.fsync(file.fileno())
                # Not renamed: a link is never put over a file that is there.
                os.link(_hidden(self._directory, name), self._directory / name)
                self._named.append(self._directory / name)
            _sync(self._directory)
            self._mark.write(content)
            os.fsync(self._mark.fileno())
            os.link(_hidden(self._directory, self._manifest), self._directory / self._manifest)
            _sync(self._directory)

    def clear(self) -> None:
        """Remove what is hidden, and what got its name without a manifest."""
        is_whole = (self._directory / self._manifest).exists()
        with suppress(OSError):
            for path in () if is_whole else self._named:
                path.unlink()
            for name in self._files:
                _hidden(self._directory, name).unlink(missing_ok=True)
            _hidden(self._directory, self._manifest).unlink(missing_ok=True)

    def _opened(self, name: str) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(_hidden(self._directory, name), flags, 0o600)
        return self._stack.enter_context(os.fdopen(descriptor, "wb", buffering=0))


@contextmanager
def laying(directory: Path, stem: str) -> Iterator[Laying]:
    """Lend a place for the files of one backup; all of them vanish unless it is finished.

    The directory is made, 0700, and what killed processes left there is swept first.

    Raises: BackupError.
    """
    with ExitStack() as stack:
        with _in_our_words(directory):
            _make(directory)
            sweep(directory)
            place = Laying(directory, stem, stack)
        stack.callback(place.clear)
        yield place


def sweep(directory: Path) -> None:
    """Remove what nobody writes any more: a living process holds the lock of its mark."""
    for mark in directory.glob(f".{PREFIX}*{manifests.SUFFIX}{_PARTIAL}"):
        with suppress(OSError), mark.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stem = mark.name.removeprefix(".").removesuffix(f"{manifests.SUFFIX}{_PARTIAL}")
            if not (directory / f"{stem}{manifests.SUFFIX}").exists():
                for path in directory.glob(f"{stem}.*"):
                    path.unlink()
            for path in directory.glob(f".{stem}.*{_PARTIAL}"):
                path.unlink()
    for path in directory.glob(f".{PREFIX}*{_PARTIAL}"):
        stem = path.name.removeprefix(".").split(".", 1)[0]
        if not _hidden(directory, f"{stem}{manifests.SUFFIX}").exists():
            path.unlink(missing_ok=True)


def _hidden(directory: Path, name: str) -> Path:
    return directory / f".{name}{_PARTIAL}"


def _make(directory: Path) -> None:
    for path in reversed([directory, *directory.parents]):
        if not path.exists():
            path.mkdir(mode=0o700 if path == directory else 0o755, exist_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _in_our_words(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"no backup can be written in {directory}: {error.strerror}",
            where=str(directory),
            hint="make room there, or name another directory as backup_dir",
        ) from error
