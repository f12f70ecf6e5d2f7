"""A private PostgreSQL server in a directory of its own, shared by the commands that run at once.

The directory holds everything: the data, the socket, the log, the locks. The server belongs to no
command: the first one starts it, later ones adopt it, and the last one's watcher stops it, also
when that command was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo

from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.postgres import watcher
from opssight_migrate.postgres.installation import Account, Installation, account_for

USER = "opssight"
PORT = 5432

_LOG = "server.log"
_STARTING = "starting"
_LOG_LINES = 12
_ANSWER_S = 30.0
_LEAVING_S = 5.0
_POLL_S = 0.01
# sun_path has 108 bytes on Linux and 104 on macOS, with the zero at the end.
_LONGEST_SOCKET_BYTES = 103

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "50",
    "wal_level": "logical",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Cluster:
    """The server in ``home``, a directory made on first use. Usable as a context manager.

    ``durable=False`` trades safety from power failure for speed (tests). ``settings`` are server
    settings by name, used if it is this object that starts the server.
    """

    def __init__(
        self,
        home: Path,
        bin_dir: Path,
        *,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        superuser: str = USER,
    ) -> None:
        self.home = home.absolute()
        self.bin_dir = bin_dir
        self.durable = durable
        self.settings = dict(settings or {})
        self.superuser = superuser
        self._installation = Installation(bin_dir)
        self._use: _Use | None = None

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as "18.6"."""
        return self._installation.version

    @property
    def major(self) -> int:
        """PostgreSQL's major version, such as 18."""
        return self._installation.major

    def conninfo(self, dbname: str) -> str:
        """Return how psycopg, pg_dump and their like connect to ``dbname`` as the superuser.

        Raises: EmbeddedServerError, if the server does not run.
        """
        running = watcher.listening(self.home)
        if running is None:
            raise EmbeddedServerError(f"the server in {self.home} does not run")
        return make_conninfo(
            host=os.fspath(running.socket_dir),
            port=running.port,
            user=self.superuser,
            dbname=dbname,
        )

    def start(self) -> None:
        """Start the server, or adopt the one that runs already; nothing to do on a second call.

        Raises: EmbeddedServerError, with the last lines of the server's log.
        """
        if self._use is not None:
            return
        try:
            account = account_for(self.home)
            _make_home(self.home, account)
            with _alone(self.home / _STARTING, account):
                self._use = self._started(account)
        except OSError as error:
            raise EmbeddedServerError(
                f"the embedded server cannot use {self.home}: {error}", hint=_ELSEWHERE
            ) from error

    def stop(self) -> None:
        """Give the server up; it stops, before this returns, unless another command uses it."""
        if self._use is not None:
            use, self._use = self._use, None
            use.end()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _started(self, account: Account | None) -> _Use:
        programs = self._programs(account)
        use = _Use(self.home, account)
        try:
            if not (self.home / watcher.DATA).exists():
                self._initialize(programs)
            if watcher.listening(self.home) is None:
                self._launch(programs)
            self._await_answer()
        except BaseException:
            use.end()
            raise
        return use

    def _programs(self, account: Account | None) -> Installation:
        programs = Installation(self.bin_dir, account)
        if account is None:
            return programs
        if not programs.can_write_in(self.home):
            raise EmbeddedServerError(
                f"the embedded server runs as {account.name}, who cannot reach {self.home}",
                hint=_ELSEWHERE,
            )
        return programs if programs.is_executable else programs.copied_into(self.home)

    def _initialize(self, programs: Installation) -> None:
        for left_over in self.home.glob("data.new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        new = self.home / f"data.new-{os.getpid()}"
        done = programs.run(
            "initdb",
            f"--pgdata={new}",
            f"--username={self.superuser}",
            "--auth-local=trust",
            "--auth-host=reject",
            "--encoding=UTF8",
            *_locale(programs.major),
            "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
            cwd=self.home,
        )
        if done.returncode != 0:
            raise EmbeddedServerError(
                f"a new embedded server cannot be made in {self.home}:\n"
                + _last_lines(done.stdout + done.stderr),
                hint=_ELSEWHERE,
            )
        # Until here a killed command leaves no half-made data directory behind.
        new.rename(self.home / watcher.DATA)

    def _launch(self, programs: Installation) -> None:
        log = self.home / _LOG
        with suppress(FileNotFoundError):
            log.replace(log.with_name(f"{_LOG}.1"))
        crashed = watcher.forget_zombie(self.home)
        until = time.monotonic() + (_LEAVING_S if crashed else 0)
        while True:
            # Relative names: pg_ctl hands them to a shell between double quotes.
            done = programs.run(
                "pg_ctl", "start", "--silent", "--wait", f"--timeout={_ANSWER_S:.0f}",
                f"--pgdata={watcher.DATA}", f"--log={_LOG}", f"--options={self._options(programs)}",
                cwd=self.home,
            )  # fmt: skip
            if done.returncode == 0 or watcher.listening(self.home) is not None:
                return
            # The sessions of a crashed server need a moment to notice and to leave.
            if time.monotonic() > until:
                raise self._silence(done.stdout + done.stderr)

    def _options(self, programs: Installation) -> str:
        directory = os.fspath(_socket_dir(self.home, programs.account)).replace('"', '""')
        settings = {
            **_SETTINGS,
            **({} if self.durable else _CARELESS),
            **self.settings,
            "unix_socket_directories": f'"{directory}"',
        }
        return shlex.join(
            word for name, value in settings.items() for word in ("-c", f"{name}={value}")
        )

    def _await_answer(self) -> None:
        until = time.monotonic() + _ANSWER_S
        while True:
            try:
                psycopg.connect(self.conninfo("postgres"), connect_timeout=5).close()
                return
            except (psycopg.OperationalError, EmbeddedServerError) as error:
                if time.monotonic() > until:
                    raise self._silence(str(error)) from error
            time.sleep(_POLL_S)

    def _silence(self, output: str) -> EmbeddedServerError:
        log = self.home / _LOG
        with suppress(OSError):
            output = log.read_text(errors="replace") or output
        return EmbeddedServerError(
            f"the embedded server in {self.home} does not start:\n{_last_lines(output)}",
            where=os.fspath(log),
            hint=f"read {log}; if its data is of no use, move {self.home} away and run again",
        )


_ELSEWHERE = "set OPSSIGHT_DATA_DIR to a directory that the server's user can reach, or make room"


class _Use:
    """One command's share in the server: a watcher, and a lock that says it is in use."""

    def __init__(self, home: Path, account: Account | None) -> None:
        self._home = home
        self._account = account
        self._lock = _opened(home / watcher.IN_USE, account)
        # The watcher comes first: from the lock on, a kill must not leave the server behind.
        self._watcher = self._new_watcher()
        # This waits while a watcher that found the server unused is stopping it.
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def end(self) -> None:
        """Let the server go, and wait until it has stopped if nobody else uses it."""
        if self._watcher.poll() is not None:  # somebody killed it
            self._watcher.communicate()
            self._watcher = self._new_watcher()
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)
        with suppress(BrokenPipeError):
            self._watcher.communicate(watcher.FINISHED)

    def _new_watcher(self) -> subprocess.Popen[bytes]:
        log = _opened(self._home / _LOG, self._account)
        try:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", watcher.__file__, os.fspath(self._home)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(log)


def _make_home(home: Path, account: Account | None) -> None:
    missing = [path for path in (home, *home.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700 if path == home else 0o755, exist_ok=True)
        if account is not None and path != home:
            path.chmod(0o755)  # ours from the first, whatever root's umask is
    is_ours = home in missing or (home / _STARTING).exists() or not any(home.iterdir())
    if not is_ours:
        raise EmbeddedServerError(
            f"{home} holds something else than an embedded server", hint=_ELSEWHERE
        )
    if account is not None:
        os.chown(home, account.uid, account.gid)
    home.chmod(0o700)


def _opened(path: Path, account: Account | None) -> int:
    # O_NOFOLLOW: root opens files here in a directory that belongs to an ordinary user.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    if account is not None:
        os.fchown(descriptor, account.uid, account.gid)
    return descriptor


@contextmanager
def _alone(path: Path, account: Account | None) -> Iterator[None]:
    lock = _opened(path, account)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _locale(major: int) -> list[str]:
    if major >= 17:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]


def _socket_dir(home: Path, account: Account | None) -> Path:
    name = os.fsencode(home / f".s.PGSQL.{PORT}")
    # libpq takes a comma as the end of one host and the beginning of the next.
    if len(name) <= _LONGEST_SOCKET_BYTES and b"," not in name:
        return home
    short = Path(tempfile.gettempdir()) / f"opssight-{hashlib.sha256(name).hexdigest()[:16]}"
    owner = os.geteuid() if account is None else account.uid
    with suppress(FileExistsError):
        short.mkdir(mode=0o700)
        if account is not None:
            os.chown(short, account.uid, account.gid, follow_symlinks=False)
    found = short.lstat()
    if not (stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077):
        raise EmbeddedServerError(
            f"{short}, meant for the embedded server's socket, belongs to somebody else",
            hint="set OPSSIGHT_DATA_DIR to a shorter path",
        )
    return short


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LOG_LINES:])
