"""kill -9 in the middle of a backup: nothing that looks whole is left, and the next one sweeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.backups.conftest import Key, Make

from opssight_migrate.backups.shelf import Shelf
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_VICTIM = """
import os, signal, sys
from pathlib import Path
from opssight_migrate.backups import creation, dump
from opssight_migrate.backups.shelf import Shelf
from opssight_migrate.postgres import connect

conninfo, directory, recipient, reads, proves = sys.argv[1:]
read, done = dump.Dump.read, []

def read_until_killed(self, size=-1):
    done.append(size)
    if len(done) > int(reads):
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, size)

dump.Dump.read = read_until_killed
session = connect.opened(conninfo, application_name="victim")
creation.create(
    session,
    creation.Order(
        environment="test", tool="t", shelf=Shelf(Path(directory)), recipients=(recipient,),
        proves=proves == "yes",
    ),
    lambda event: None,
)
"""
_PROOFS = "SELECT datname FROM pg_database WHERE starts_with(datname, 'opssight_proof_')"


def test_a_backup_killed_at_its_beginning_middle_and_end_is_none(
    populated: Session, make: Make, shelf: Shelf, key: Key
) -> None:
    for reads, proves in (("0", "no"), ("3", "no"), ("8", "no"), ("4", "yes")):
        killed = subprocess.run(
            [
                *(sys.executable, "-c", _VICTIM, populated.connection.info.dsn),
                *(str(shelf.directory), key.public, reads, proves),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )

        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert shelf.listed() == []
        assert all(path.name.startswith(".") for path in shelf.directory.iterdir())

    made = make(populated, proves=True)

    left = {path.name for path in shelf.directory.iterdir()}
    assert left == {made.path.name, made.manifest_path.name}
    assert populated.rows(_PROOFS) == []
