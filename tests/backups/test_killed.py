"""kill -9 in the middle of a backup: nothing that looks whole is left, and the next one sweeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.backups.conftest import Key, Make

from opssight_migrate.backups import verification
from opssight_migrate.backups.shelf import Shelf, taken
from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
restores = pytest.mark.needs_further_grants("a backup is restored into a new database")

_VICTIM = """
import importlib, os, signal, sys
from pathlib import Path
from opssight_migrate.backups import creation
from opssight_migrate.backups import verification
from opssight_migrate.backups.shelf import Shelf, taken
from opssight_migrate.model.errors import BackupError
from opssight_migrate.postgres import connect

conninfo, directory, recipient, module, name, calls, jobs, proves = sys.argv[1:]
place, _, attribute = name.rpartition(".")
owner = importlib.import_module(module)
owner = getattr(owner, place) if place else owner
work, done = getattr(owner, attribute), []

def until_killed(*given, **named):
    done.append(1)
    if len(done) > int(calls):
        os.kill(os.getpid(), signal.SIGKILL)
    return work(*given, **named)

setattr(owner, attribute, until_killed)
session = connect.opened(conninfo, application_name="victim")
creation.create(
    session,
    creation.Order(
        environment="test", tool="t", shelf=Shelf(Path(directory)), recipients=(recipient,),
        jobs=int(jobs), proves=proves == "yes",
    ),
    lambda event: None,
)
"""
_PROOFS = "SELECT datname FROM pg_database WHERE starts_with(datname, 'opssight_proof_')"
_READ = ("opssight_migrate.backups.compression", "Compressed.read")
# Each phase: what is called, after how many calls of it the process dies, pg_dump side by side.
PHASES = {
    "before the first byte": (*_READ, 0, 1, "no"),
    "in the middle": (*_READ, 3, 1, "no"),
    "in the middle of a proof": (*_READ, 4, 1, "yes"),
    "in the middle of several parts": (*_READ, 12, 3, "no"),
    "before the parts are compared": (
        *("opssight_migrate.backups.comparison", "refuse_differences", 0, 2, "yes"),
    ),
    "while parts get their names": ("os", "link", 2, 2, "no"),
    "before the manifest gets its own": ("os", "link", 4, 2, "no"),
}


@restores
def test_a_backup_killed_in_any_phase_is_none_and_is_swept(
    populated: Session, make: Make, shelf: Shelf, key: Key
) -> None:
    for phase, (module, name, calls, jobs, proves) in PHASES.items():
        killed = subprocess.run(
            [
                *(sys.executable, "-c", _VICTIM, populated.connection.info.dsn),
                *(str(shelf.directory), key.public, module, name, str(calls), str(jobs), proves),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )

        assert killed.returncode == -signal.SIGKILL, (phase, killed.stderr)
        assert shelf.listed() == [], phase
        left = list(shelf.directory.iterdir())
        assert left, phase
        with pytest.raises(BackupError):
            taken(left[0])

    made = make(populated, proves=True)

    assert {path.name for path in shelf.directory.iterdir()} == {
        made.path.name,
        made.manifest_path.name,
    }
    assert populated.rows(_PROOFS) == []


def test_a_backup_killed_once_its_manifest_has_its_name_is_whole(
    populated: Session, make: Make, shelf: Shelf, key: Key
) -> None:
    made = make(populated)
    stem = made.manifest_path.name.removesuffix(".manifest.json")
    for path in (made.path, made.manifest_path):  # as they are before the hidden names go
        os.link(path, shelf.directory / f".{path.name}.partial")

    second = make(populated)

    assert shelf.listed() == [second, made]
    assert not list(shelf.directory.glob(f".{stem}*"))
    verification.check_file(made, None)
    verification.check_seal(made, key.identities)


def test_a_backup_under_way_is_not_swept_by_another(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    with shelf.laying("backup_test_20260101T000000000000Z") as place:
        place.part("backup_test_20260101T000000000000Z.dump.zst").write(b"half")
        made = make(populated)
        assert len(list(shelf.directory.glob(".backup_test_20260101T*"))) == 2
    assert {path.name for path in shelf.directory.iterdir()} == {
        made.path.name,
        made.manifest_path.name,
    }
