"""What a database can be restored from: our own backups, archives of pg_dump, plain SQL of it."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from opssight_migrate.backups import compression, psql, shelf, sql_script, verification
from opssight_migrate.backups import manifest as manifests
from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.manifest import TableFacts
from opssight_migrate.backups.restore import UNREADABLE, Restoring
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.model.errors import (
    BackupError,
    ClientToolError,
    DamagedBackupError,
    ForeignBackupError,
)
from opssight_migrate.model.plan import DatabaseFacts
from opssight_migrate.postgres import clients, siblings
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.failures import masked
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

_HINT = "take another backup: opssight-migrate backup list"
_OURS = (b"age-encryption.org/", compression.MAGIC)
_TOC = "toc.dat"
_DBNAME = re.compile(r"^;\s+dbname: (.*)$", re.MULTILINE)
_MADE = re.compile(r"^; Archive created at (.*)$", re.MULTILINE)
_LIST_S = 120.0
_LAST_WORDS = b"\n-- PostgreSQL database dump complete\n"
_LAST_BYTES = 4096

Identities = Callable[[Shelved], Sequence[Any]]
"""Returns what opens a sealed backup; raises where nothing is at hand."""


class Source(ABC):
    """Something to restore from. ``tables`` is None where nobody wrote down what went in."""

    path: Path
    sentence: str
    tables: Mapping[str, TableFacts] | None = None
    sha256: str | None = None
    is_script: bool = False
    """Whether it is SQL that is carried out as it stands: no superuser's to carry out for us."""

    @abstractmethod
    def check(self, live: Session, facts: DatabaseFacts, profile: Profile) -> None:
        """Look at all that can be looked at before the first byte is used.

        Raises: DamagedBackupError, ForeignBackupError, WrongKeyError, UnsafeScriptError and such.
        """

    @abstractmethod
    def restore(self, session: Session, database: str) -> None:
        """Restore into the empty ``database`` on the server of ``session``, with owners and grants.

        Raises: BackupError and what ``check`` raises.
        """


def source_of(path: Path, identities: Identities) -> Source:
    """Return what lies at ``path``, told by what it is and not by its name.

    Raises: BackupError, where there is nothing, ManifestError for a sealed one without manifest.
    """
    if not path.exists():
        raise BackupError(
            f"there is no backup {path}", where=str(path), hint="opssight-migrate backup list"
        )
    if path.is_dir():
        if not (path / _TOC).is_file():
            raise DamagedBackupError(
                f"{path} is a directory, and none that pg_dump -Fd made: {_TOC} is missing",
                where=str(path),
                hint=_HINT,
            )
        return _Archive(path)
    if shelf.has_manifest(path):
        return _OwnBackup(shelf.taken(path), identities)
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise DamagedBackupError("the backup is empty", where=str(path), hint=_HINT)
    if head.startswith(compression.ARCHIVE):
        return _Archive(path)
    if head.startswith(_OURS) or path.name.endswith(manifests.SUFFIX):
        return _OwnBackup(shelf.taken(path), identities)  # says that its manifest is missing
    if b"\0" in head:
        raise DamagedBackupError(
            "this is neither a backup of ours nor a dump of pg_dump", where=str(path), hint=_HINT
        )
    return _Script(path)


class _OwnBackup(Source):
    def __init__(self, backup: Shelved, identities: Identities) -> None:
        self.backup = backup
        self.path = backup.path
        made = backup.manifest
        self.tables = made.tables
        self.sha256 = backup.manifest_sha256
        self._identities = identities
        self._opened_with: Sequence[Any] = ()
        how = "sealed" if made.is_sealed else "plain"
        proof = ", proven when it was made" if made.proven else ""
        self.sentence = (
            f"backup of {made.made_at:%Y-%m-%d %H:%M:%S} UTC, revision {made.revision or 'none'},"
            f" {len(made.tables)} tables, {made.rows:,} rows, {how}{proof}"
        )

    def check(self, live: Session, facts: DatabaseFacts, profile: Profile) -> None:
        del live
        verification.refuse_other_environment(self.backup, profile.name)
        verification.refuse_other_database(self.backup, facts.system_identifier, facts.name)
        verification.check_file(self.backup, profile.backups.manifest_key)
        if self.backup.manifest.is_sealed:
            self._opened_with = self._identities(self.backup)
        verification.check_seal(self.backup, self._opened_with)

    def restore(self, session: Session, database: str) -> None:
        keys = self._opened_with
        verification.restore_into(self.backup, keys, session, database, as_owner=True)


class _Archive(Source):
    """An archive of pg_dump -Fc or -Fd, made by hand: nobody wrote down what went into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sentence = f"archive of pg_dump, {path.name}"
        self._tools: Clients | None = None

    def check(self, live: Session, facts: DatabaseFacts, profile: Profile) -> None:
        del profile
        self._tools, contents = _readable(self.path, live)
        if made := _MADE.search(contents):
            self.sentence += f", of {made[1]}"
        self.sentence += "; without a manifest: nobody knows what went in"
        named = _DBNAME.search(contents)
        if named is None or named[1] != facts.name:
            raise ForeignBackupError(
                f"this is a dump of database {named[1] if named else 'unknown'}, not of"
                f" {facts.name}",
                where=str(self.path),
                hint="opssight-migrate backup list",
            )

    def restore(self, session: Session, database: str) -> None:
        assert self._tools is not None
        restoring = Restoring(
            self._tools,
            siblings.for_program(session, database),
            server_major=session.server_version // 10_000,
            as_owner=True,
            archive=self.path,
        )
        try:
            restoring.finish()
        finally:
            restoring.kill()


class _Script(Source):
    """Plain SQL of pg_dump, such as the documented pre_migration_backup.sql."""

    is_script = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = ""
        self.sentence = f"plain SQL, {path.name}; without a manifest: nobody knows what went in"

    def check(self, live: Session, facts: DatabaseFacts, profile: Profile) -> None:
        del profile
        self._database = facts.name
        self._tools(live)
        with self.path.open("rb") as file:
            file.seek(max(self.path.stat().st_size - _LAST_BYTES, 0))
            if _LAST_WORDS not in file.read():
                raise DamagedBackupError(
                    "the file does not end as pg_dump ends: it is not whole",
                    where=str(self.path),
                    hint=_HINT,
                )
            file.seek(0)
            for _ in sql_script.safe_lines(file, facts.name):
                pass

    def restore(self, session: Session, database: str) -> None:
        connection = siblings.for_program(session, database)
        with self.path.open("rb") as file:
            lines = sql_script.safe_lines(file, self._database)
            psql.run(self._tools(session), connection, lines)

    @staticmethod
    def _tools(live: Session) -> Clients:
        major = live.server_version // 10_000
        return clients.for_restore(major, major, over_tls=uses_tls(live))


def _readable(path: Path, live: Session) -> tuple[Clients, str]:
    """Return the client that can read an archive and its data, and the list of what is in it.

    Raises: DamagedBackupError, where none can read it; ClientToolError, where one lacks its
    compression.
    """
    major = live.server_version // 10_000
    known = clients.every(over_tls=uses_tls(live))
    words = "there is no pg_restore here"
    lacks_compression = False
    for tools in sorted(known, key=lambda one: one.major != major):
        done = subprocess.run(
            [tools.program("pg_restore"), "--list", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIST_S,
            check=False,
        )
        if done.returncode == 0 and UNREADABLE not in done.stderr:
            return tools, done.stdout
        lacks_compression = lacks_compression or done.returncode == 0
        words = masked("; ".join(done.stderr.strip().splitlines()[:3])) or words
    if lacks_compression or not known:
        raise ClientToolError(
            f"no pg_restore here can read this archive: {words}",
            where=str(path),
            hint=f"install the package postgresql-client-{major}",
        )
    raise DamagedBackupError(f"the archive cannot be read: {words}", where=str(path), hint=_HINT)
