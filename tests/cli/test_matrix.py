"""``-o json`` of every verb in every state: one valid document with the process's exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from tests.cli.causes import NO_ROWS, NOWHERE
from tests.cli.test_usage import SOURCE
from tests.conftest import DatabaseAt
from tests.least import as_superuser

from opssight_migrate.cli.verbs import VERBS
from opssight_migrate.model.schema import schema_text
from opssight_migrate.opssight.revisions import AUDIT, START

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

SCHEMA = json.loads(schema_text())
# What the shortest call of each verb that connects looks like; the others stand in OFFLINE.
CONNECTING = {
    "migrate": ["--yes"],
    "rollback": ["--to-revision", START, "--yes"],
    "cleanup": ["--artifacts", "--yes"],
    "status": [],
    "verify": [],
    "doctor": [],
    "history": [],
    "backup create": [],
}
SUMMARIZED = {"migrate", "rollback", "cleanup", "verify", "status", "doctor"}
OFFLINE = {"check", "explain", "init", "backup list", "backup verify"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def configured(place: Path, url: str, *lines: str) -> None:
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false\n'
        "[verify]\nrehearse = false\n[cleanup]\nkeep_last = 1\n"
        f'[environments.test]\nurl = "{url}"\n' + "\n".join(lines)
    )


def started(place: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "opssight_migrate", *args, "-o", "json"],
        cwd=place,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def document_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the one document of a process, found valid and telling the process's exit code."""
    out, err = process.communicate(timeout=120)
    found: dict[str, Any] = json.loads(out)
    jsonschema.validate(found, SCHEMA)
    assert found["exit_code"] == process.returncode, err
    return found


def ended(place: Path, *args: str) -> tuple[str, int]:
    found = document_of(started(place, *args))
    words = args[:2] if args[0] == "backup" else args[:1]
    assert found["command"] == " ".join(words)
    assert found["next"] or found["exit_code"] or args[0] not in SUMMARIZED
    return found["status"], found["exit_code"]


def test_the_matrix_knows_every_verb() -> None:
    assert set(VERBS) == {verb.split()[0] for verb in {*CONNECTING, *OFFLINE}}


@pytest.mark.parametrize("verb", CONNECTING)
def test_a_verb_that_is_refused(place: Path, verb: str) -> None:
    configured(place, NOWHERE)
    assert ended(place, *verb.split(), *CONNECTING[verb], "-e", "nowhere") == ("refused", 4)
    assert ended(place, *verb.split(), "--nonsense") == ("refused", 2)


@pytest.mark.parametrize("verb", CONNECTING)
def test_a_verb_that_reaches_no_server(place: Path, verb: str) -> None:
    configured(place, NOWHERE, "backup_plain = true")
    expected = ("findings", 1) if verb == "doctor" else ("failed", 5)
    assert ended(place, *verb.split(), *CONNECTING[verb]) == expected


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("verb", CONNECTING)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_verb_that_is_interrupted(
    place: Path, silent: int, verb: str, number: signal.Signals, code: int
) -> None:
    configured(place, f"postgresql://a@127.0.0.1:{silent}/none", "backup_plain = true")
    process = started(place, *verb.split(), *CONNECTING[verb])
    _wait_for_connection(process.pid, silent)
    process.send_signal(number)
    found = document_of(process)
    assert (found["status"], found["exit_code"]) == ("interrupted", code)
    assert found["diagnostics"][-1]["state"] == "nothing was changed"


def _wait_for_connection(pid: int, port: int) -> None:
    import psutil

    for _ in range(600):
        connections = psutil.Process(pid).net_connections()
        if any(one.raddr and one.raddr.port == port for one in connections):
            return
        time.sleep(0.05)
    raise AssertionError("it never connected")


def test_the_verbs_offline(place: Path) -> None:
    folder = place / "versions"
    folder.mkdir()
    bad = "from alembic import op\nrevision = 'a'\ndown_revision = None\n"
    bad += "def upgrade():\n    op.drop_table('x')\ndef downgrade():\n    op.execute('')\n"
    (folder / "a.py").write_text(bad)
    assert ended(place, "check") == ("ok", 0)
    assert ended(place, "check", "--script-location", ".") == ("findings", 1)
    assert ended(place, "check", "--script-location", "none") == ("refused", 2)
    assert ended(place, "explain", "OM402") == ("ok", 0)
    assert ended(place, "explain", "OM") == ("refused", 2)
    assert ended(place, "init") == ("ok", 0)
    assert ended(place, "init") == ("refused", 2)


def test_the_verbs_on_a_database_from_the_start_to_the_end(
    place: Path, database_at: DatabaseAt
) -> None:
    url = database_at(START)
    configured(place, url)
    assert ended(place, "history") == ("nothing_to_do", 0)
    assert ended(place, "doctor") == ("ok", 0)
    assert ended(place, "status") == ("pending", 0)
    assert ended(place, "status", "--detailed-exitcode") == ("pending", 3)
    assert ended(place, "backup", "list") == ("ok", 0)
    assert ended(place, "backup", "verify") == ("failed", 10)
    assert ended(place, "backup", "create") == ("refused", 7)
    assert ended(place, "rollback", "-t", "data", "--yes") == ("refused", 2)
    absent = ["rollback", "-t", "data", "--backup-file", "absent.dump", "--yes"]
    assert ended(place, *absent) == ("failed", 10)
    assert ended(place, "migrate") == ("refused", 11)
    assert ended(place, "migrate", "-n") == ("pending", 0)
    assert ended(place, "migrate", "--sql") == ("refused", 2)
    assert ended(place, "migrate", "--yes", "--deadline", "1ms") == ("partial", 9)
    assert ended(place, "migrate", "--yes") == ("ok", 0)
    assert ended(place, "migrate", "--yes") == ("nothing_to_do", 0)
    assert ended(place, "status") == ("ok", 0)
    assert ended(place, "verify") == ("ok", 0)
    assert ended(place, "verify", "-t", "performance") == ("ok", 0)
    assert ended(place, "history") == ("ok", 0)
    assert ended(place, "cleanup", "--artifacts", "--yes") == ("nothing_to_do", 0)
    assert ended(place, "cleanup", "--chunks", "--window", "1m") == ("nothing_to_do", 0)
    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        connection.execute("DELETE FROM user_roles WHERE id = (SELECT min(id) FROM user_roles)")
    assert ended(place, "verify") == ("findings", 1)
    assert ended(place, "migrate", "--yes") == ("ok", 0)
    assert ended(place, "rollback", *CONNECTING["rollback"][:2]) == ("refused", 11)
    assert ended(place, "rollback", *CONNECTING["rollback"]) == ("ok", 0)
    assert ended(place, "rollback", *CONNECTING["rollback"]) == ("nothing_to_do", 0)
    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        connection.execute("DROP TABLE alerts CASCADE")
    assert ended(place, "migrate", "--yes") == ("refused", 7)


def test_the_verbs_of_backups(place: Path, database_at: DatabaseAt) -> None:
    shelf = f'backup_dir = "{place}/shelf"'
    configured(place, database_at(START), "backup_plain = true", shelf)
    assert ended(place, "cleanup", "--backups", "--yes") == ("nothing_to_do", 0)
    assert ended(place, "backup", "create") == ("ok", 0)
    assert ended(place, "backup", "create") == ("ok", 0)
    assert ended(place, "backup", "list") == ("ok", 0)
    assert ended(place, "backup", "verify") == ("ok", 0)
    old = ["cleanup", "--backups", "--older-than", "1s"]
    assert ended(place, *old) == ("refused", 11)
    assert ended(place, *old, "-n") == ("pending", 0)
    assert ended(place, *old, "--yes") == ("ok", 0)
    assert ended(place, *old, "--yes") == ("nothing_to_do", 0)
    (dump,) = (place / "shelf").glob("*.dump.zst")
    dump.write_bytes(b"")
    assert ended(place, "backup", "verify") == ("failed", 10)


def test_a_run_that_cannot_succeed_is_told_as_undone(place: Path, database_at: DatabaseAt) -> None:
    url = database_at(AUDIT)
    configured(place, url)
    with psycopg.connect(as_superuser(url), autocommit=True) as connection:
        connection.execute(NO_ROWS.format("user_roles").encode())
    assert ended(place, "migrate", "--yes") == ("rolled_back", 8)
    assert ended(place, "status") == ("pending", 0)
