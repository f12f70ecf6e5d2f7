"""The client programs pg_dump, pg_restore and psql: found, and of a version that fits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from opssight_migrate.model.errors import ClientToolError, EmbeddedServerError
from opssight_migrate.postgres.embedded import wheel_bin_dir

_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)[.\w]*)")
_ANSWER_S = 20.0
_FIRST_WITH_TRANSACTION_TIMEOUT = 17
# The minor releases that brought psql's restricted mode.
# Source: release notes of August 2025, CVE-2025-8714.
_RESTRICTED_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The programs in one directory. ``has_tls`` is false for the wheel's, built without it."""

    directory: Path
    version: str
    has_tls: bool = True

    @property
    def major(self) -> int:
        """Their major version, such as 18."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def program(self, name: str) -> str:
        """Return the path of a program."""
        return str(self.directory / name)

    @property
    def has_restricted_mode(self) -> bool:
        """Whether psql can be told to carry out no command of its own (\\restrict)."""
        minor = int(re.split(r"\D", f"{self.version}.0")[1] or 0)
        return minor >= _RESTRICTED_SINCE.get(self.major, 0) if self.major >= 13 else False

    def says_too_much_for(self, server_major: int) -> bool:
        """Tell whether what pg_restore writes has a setting that the server does not know."""
        return self.major >= _FIRST_WITH_TRANSACTION_TIMEOUT > server_major


def for_dump(server_major: int, *, over_tls: bool = False) -> Clients:
    """Return clients not older than the server: on PATH, else Debian's nearest, else the wheel's.

    Raises: ClientToolError, naming the package to install.
    """
    return _first_fitting(server_major, over_tls=over_tls, wanted_for="dump")


def for_restore(server_major: int, archive_major: int, *, over_tls: bool = False) -> Clients:
    """Return clients that can read an archive of ``archive_major``, nearest the target's own.

    Raises: ClientToolError, naming the package to install.
    """
    exact = [
        found
        for found in _found()
        if found.major == server_major >= archive_major and (found.has_tls or not over_tls)
    ]
    if exact:
        return exact[0]
    oldest = max(server_major, archive_major)
    return _first_fitting(oldest, over_tls=over_tls, wanted_for="restore")


def every(*, over_tls: bool = False) -> tuple[Clients, ...]:
    """Return all that are here, in the order in which they are preferred."""
    return tuple(found for found in _found() if found.has_tls or not over_tls)


def _first_fitting(oldest_major: int, *, over_tls: bool, wanted_for: str) -> Clients:
    known: list[str] = []
    for found in _found():
        if found.major >= oldest_major and (found.has_tls or not over_tls):
            return found
        reason = "" if found.has_tls or not over_tls else ", without TLS"
        known.append(f"{found.version} in {found.directory}{reason}")
    seen = f"; there are: {', '.join(known)}" if known else ""
    raise ClientToolError(
        f"no pg_dump of PostgreSQL {oldest_major} or newer to {wanted_for} with{seen}",
        hint=f"install the package postgresql-client-{oldest_major}",
    )


def _found() -> Iterator[Clients]:
    places: list[tuple[Path, bool]] = []
    if on_path := shutil.which("pg_dump"):
        places.append((Path(on_path).parent, True))
    debian = [path.parent for path in _DEBIAN.glob("*/bin/pg_dump")]
    places += [(path, True) for path in sorted(debian, key=lambda one: _number(one.parent.name))]
    with suppress(EmbeddedServerError):  # an extra: whoever has other clients does not need it
        places.append((wheel_bin_dir(), False))
    for directory, has_tls in places:
        if version := _version(directory):
            yield Clients(directory=directory, version=version, has_tls=has_tls)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


@cache  # Debian's are wrappers in Perl, and slow to ask
def _version(directory: Path) -> str | None:
    """Return the version that all three programs there agree on; None if they do not run."""
    versions: set[str] = set()
    for name in ("pg_dump", "pg_restore", "psql"):
        try:
            done = subprocess.run(
                [directory / name, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_ANSWER_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if (found := _VERSION.search(done.stdout)) is None:
            return None
        versions.add(found[1])
    return versions.pop() if len(versions) == 1 else None
