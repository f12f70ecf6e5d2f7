"""``rollback --type data`` by real processes: damaged backups, a full disk, kill -9 at each phase.

Each time the live database is complete: what it was, or, once the swap is committed, the backup.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.conftest import Everything, everything
from tests.conftest import DatabaseAt
from tests.least import as_superuser

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import clients
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_further_grants("CREATEDB, and the ownership of the database")

KEY, OTHER_KEY = new_key(), new_key()
RESTORER = Path(__file__).with_name("restorer.py")
_DATABASES = "SELECT datname::text FROM pg_database WHERE datname <> ALL(%s) ORDER BY 1"
_CONFIG = """
[project]
default_environment = "test"

[old_release]
rehearse = false

[environments.test]
url = "{url}"
backup_dir = "{home}/shelf"
backup_recipients = ["{key}"]
"""
Outcome = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Place:
    """A live database, its configuration, and a backup from before its last change."""

    conninfo: str
    home: Path
    backup: Path
    session: Session

    def run(
        self,
        *arguments: str,
        fatal: tuple[str, str, int] | None = None,
        file_bytes: int | None = None,
    ) -> Outcome:
        """Run the tool; ``fatal`` is where it is killed, ``file_bytes`` what a file may hold."""

        def limit() -> None:
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        program = ["-m", "opssight_migrate"]
        if fatal is not None:
            program = [str(RESTORER), fatal[0], fatal[1], str(fatal[2])]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPSSIGHT_", "PG"))}
        return subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=self.home,
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OPSSIGHT_LOG_DIR": str(self.home / "log"),
                "OPSSIGHT_DATA_DIR": str(self.home / "data"),
                "TMPDIR": str(self.home / "tmp"),
            },
            preexec_fn=limit,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def back(self, path: Path, *more: str, key: str = "identity.txt", **how: Any) -> Outcome:
        """Go back to a backup, without a question."""
        named = ("--backup-file", str(path), "--identity", str(self.home / key), *more)
        return self.run("rollback", "--type", "data", *named, "--yes", "-o", "json", **how)

    def looks(self) -> tuple[Everything, list[Any], list[str], list[str]]:
        """Return all that must not change: rows, databases, the shelf, the temporary folder."""
        with psycopg.connect(as_superuser(self.conninfo), autocommit=True) as connection:
            session = Session(connection)
            session.prepare()
            found = everything(session)
            databases = session.rows(_DATABASES, ([],))
        shelf, temporary = (
            sorted(path.name for path in (self.home / folder).iterdir())
            for folder in ("shelf", "tmp")
        )
        return found, databases, shelf, temporary


def configured(home: Path, conninfo: str, session: Session) -> Place:
    """Write a configuration, and make a backup of the database as it is."""
    for folder in ("tmp", "shelf", ".git"):
        (home / folder).mkdir()
    (home / "identity.txt").write_text(KEY.text)
    (home / "other.txt").write_text(OTHER_KEY.text)
    config = _CONFIG.format(url=conninfo, home=home, key=KEY.public)
    (home / "opssight.toml").write_text(config)
    made = Place(conninfo, home, home, session)
    done = made.run("backup", "create", "-o", "json")
    assert done.returncode == 0, done.stderr
    return replace(made, backup=Path(json.loads(done.stdout)["artifacts"][0]["path"]))


@pytest.fixture
def place(
    database_at: DatabaseAt, tmp_path: Path, opened: Callable[[str], Session]
) -> Iterator[Place]:
    """A database that was changed after its backup."""
    conninfo = database_at(START)
    session = opened(psycopg.conninfo.make_conninfo(as_superuser(conninfo), dbname="postgres"))
    made = configured(tmp_path, conninfo, session)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("DELETE FROM team_memberships")
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    yield made
    left = session.rows(
        "SELECT datname::text FROM pg_database"
        " WHERE starts_with(datname, %s) OR starts_with(datname, 'opssight_proof_')",
        (f"{name}_before_",),
    )
    for (one,) in left:
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(one)))


def test_damage_of_every_kind_is_refused_by_name_and_nothing_moves(place: Place) -> None:
    whole = place.backup.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    manifest = place.backup.with_name(place.backup.name.split(".")[0] + ".manifest.json")
    other_database = manifest.read_text().replace(
        json.loads(manifest.read_text())["origin"]["name"], "elsewhere"
    )
    tools = clients.for_dump(place.session.server_version // 10_000)
    script = subprocess.run(
        [tools.program("pg_dump"), place.conninfo], capture_output=True, check=True
    ).stdout
    by_hand = place.home / "by_hand.sql"
    before = place.looks()

    def with_backup(content: bytes, text: str | None = None) -> Outcome:
        kept = manifest.read_text()
        place.backup.write_bytes(content)
        manifest.write_text(text or kept)
        try:
            return place.back(place.backup)
        finally:
            place.backup.write_bytes(whole)
            manifest.write_text(kept)

    def with_script(content: bytes) -> Outcome:
        by_hand.write_bytes(content)
        return place.back(by_hand)

    cases: dict[str, tuple[Callable[[], Outcome], int, str]] = {
        "flipped": (lambda: with_backup(bytes(flipped)), 10, "not byte for byte"),
        "one missing": (lambda: with_backup(whole[:-1]), 10, "bytes, and"),
        "empty": (lambda: with_backup(b""), 10, "has 0 bytes"),
        "another database's": (lambda: with_backup(whole, other_database), 7, "another database"),
        "wrong key": (lambda: place.back(place.backup, key="other.txt"), 10, "not sealed to this"),
        "bad row": (
            lambda: with_script(script.replace(b"\n\\.\n", b"\nbad\trow\n\\.\n", 1)),
            10,
            "cannot be restored",
        ),
        "full disk": (lambda: place.back(place.backup, file_bytes=20_000), 10, "written"),
    }
    for name, (attempt, exit_code, words) in cases.items():
        done = attempt()
        assert (done.returncode, name) == (exit_code, name), done.stderr
        assert words in done.stderr, name
        assert "state: nothing was changed" in done.stderr, name
        by_hand.unlink(missing_ok=True)
        assert place.looks() == before, name


PHASES = {
    "while it is restored": ("opssight_migrate.backups.restore:Restoring.finish", "before", 1),
    "before it is compared": (
        "opssight_migrate.backups.comparison:refuse_differences",
        "before",
        1,
    ),
    "after the safety backup": ("opssight_migrate.backups.creation:create", "after", 1),
    "when the journal is over": (
        "opssight_migrate.backups.replacement:carry_journal",
        "after",
        1,
    ),
    "while writers wait": ("opssight_migrate.postgres.standstill:stop_writers", "after", 1),
    "within the swap": ("opssight_migrate.postgres.swap:Identifier", "after", 4),
}


def test_killed_at_any_phase_the_live_database_is_whole_and_the_next_run_sweeps(
    place: Place,
) -> None:
    live, databases, shelf, temporary = place.looks()
    for name, fatal in PHASES.items():
        killed = place.back(place.backup, fatal=fatal)

        assert killed.returncode == -9, (name, killed.stderr)
        now, _, _, left = place.looks()
        assert now == live, name
        assert left == temporary, name
    again = place.back(place.backup)

    assert again.returncode == 0, again.stderr
    retired = json.loads(again.stdout)["retired"]
    after, found, kept, left = place.looks()
    assert after.rows["team_memberships"][0] > 0
    # All that was left of six killed runs is gone; each that got so far left its safety backup.
    assert sorted(found) == sorted([*databases, (retired[0],)])
    assert set(shelf) < set(kept)
    assert not [one for one in kept if one.startswith(".")]
    assert left == temporary


def test_killed_right_after_the_swap_the_backup_stands_there_and_the_old_one_is_kept(
    place: Place,
) -> None:
    live, databases, *_ = place.looks()
    fatal = ("opssight_migrate.postgres.swap:swap", "after", 1)

    killed = place.back(place.backup, fatal=fatal)

    assert killed.returncode == -9, killed.stderr
    now, found, *_ = place.looks()
    assert now.catalogue == live.catalogue
    assert now.rows["team_memberships"][0] > 0
    [(retired,)] = set(found) - set(databases)
    conninfo = psycopg.conninfo.make_conninfo(as_superuser(place.conninfo), dbname=retired)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        old = Session(connection)
        old.prepare()
        assert everything(old) == live
    history = place.run("history", "-o", "json")
    assert [run["status"] for run in json.loads(history.stdout)["runs"]] == ["ok"]
