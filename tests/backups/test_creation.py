"""Making a backup of a real database, and proving it."""

from __future__ import annotations

import hashlib
import io
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from tests.backups.conftest import Key, Make

from opssight_migrate.backups import (
    comparison,
    compression,
    dump,
    room,
    scratch,
    seal,
    verification,
)
from opssight_migrate.backups.shelf import Shelf, Shelved, taken
from opssight_migrate.model.errors import (
    BackupError,
    ClientToolError,
    ConfigError,
    ExitCode,
    ManifestError,
    NoRoomError,
    NotProvenError,
    PrivilegeError,
)
from opssight_migrate.model.events import BackupMade, BackupStarted, Event
from opssight_migrate.postgres import clients, connect, properties, siblings, sizes
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
restores = pytest.mark.needs_further_grants("a backup is restored into a new database")

_PROOFS = "SELECT datname FROM pg_database WHERE starts_with(datname, 'opssight_proof_')"


def files(shelf: Shelf) -> list[str]:
    """Return the names of all files on the shelf, hidden ones too."""
    return (
        sorted(path.name for path in shelf.directory.iterdir()) if shelf.directory.exists() else []
    )


def test_a_backup_is_sealed_described_and_only_its_owner_can_read_it(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    events: list[Event] = []

    made = make(populated, events=events)

    assert files(shelf) == sorted([made.path.name, made.manifest_path.name])
    assert made.path.name.startswith("backup_test_")
    assert stat.S_IMODE(shelf.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in shelf.directory.iterdir()} == {0o600}
    content = made.path.read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    assert b"PGDMP" not in content
    [file] = made.manifest.parts
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert made.manifest.revision == "d8b40ecdc203"
    assert made.manifest.rows > 2_000
    assert not made.manifest.proven
    assert taken(made.path) == taken(made.manifest_path) == made
    assert made.manifest_sha256 == hashlib.sha256(made.manifest_path.read_bytes()).hexdigest()
    assert isinstance(events[0], BackupStarted)
    assert isinstance(events[-1], BackupMade)


@restores
def test_the_manifest_tells_the_digests_of_the_dumps_own_snapshot(
    populated: Session,
    make: Make,
    key: Key,
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = siblings.sibling(populated, populated.connection.info.dbname, "writer")
    before = populated.scalar("SELECT count(*) FROM teams")
    begin = dump.Dump.__init__

    def write_then_begin(self: dump.Dump, *given: Any, **named: Any) -> None:
        other.execute("UPDATE users SET bio = 'later'")
        other.execute("DELETE FROM team_memberships")
        begin(self, *given, **named)

    monkeypatch.setattr(dump.Dump, "__init__", write_then_begin)
    try:
        made = make(populated, proves=True)
    finally:
        other.close()

    assert made.manifest.proven
    assert made.manifest.tables["teams"].rows == before
    assert made.manifest.tables["team_memberships"].rows > 0
    verification.check_restore(made, key.identities, populated)


@restores
def test_a_plain_backup_is_an_archive_of_pg_dump_in_a_file_of_zstd(
    populated: Session, make: Make
) -> None:
    made = make(populated, recipients=())

    content, archive = made.path.read_bytes(), made.path.with_name("archive")
    assert made.path.name.endswith("Z.dump.zst")
    assert content.startswith(compression.MAGIC)
    with archive.open("wb") as file:
        compression.Expanded(file).write(content)
    tools = clients.for_dump(populated.server_version // 10_000)
    subprocess.run([tools.program("pg_restore"), "--list", archive], check=True)
    verification.check_restore(made, [], populated)


@restores
def test_where_coreutils_are_not_pg_dump_writes_as_it_does(
    populated: Session, make: Make, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    which = shutil.which
    asked: list[str] = []

    def without_stdbuf(name: str, *given: Any) -> str | None:
        asked.append(name)
        return None if name == "stdbuf" else which(name, *given)

    with_it = make(populated)
    monkeypatch.setattr(shutil, "which", without_stdbuf)

    without_it = make(populated)

    assert "stdbuf" in asked
    assert without_it.manifest.tables == with_it.manifest.tables
    verification.check_restore(without_it, key.identities, populated)


@restores
def test_a_backup_from_before_zstd_still_opens_and_restores(
    populated: Session, make: Make, key: Key
) -> None:
    made = make(populated, recipients=())
    stem = made.path.name.removesuffix(".dump.zst")
    tools = clients.for_dump(populated.server_version // 10_000)
    reached = siblings.for_program(populated)
    command = [tools.program("pg_dump"), "-Fc", "-Z1", "-d", reached.conninfo]
    archive = subprocess.run(command, env=reached.environment, check=True, capture_output=True)
    assert archive.stdout.startswith(compression.ARCHIVE)
    for name, recipients in ((f"{stem}.dump.age", (key.public,)), (f"{stem}.dump", ())):
        path = made.path.with_name(name)
        with path.open("wb") as file:
            seal.seal(io.BytesIO(archive.stdout), sink := seal.Counted(file), recipients)
        [part] = made.manifest.parts
        part = part.model_copy(
            update={"name": name, "bytes": sink.size_bytes, "sha256": sink.sha256}
        )
        sealing = "keys" if recipients else "plain"
        manifest = made.manifest.model_copy(update={"parts": (part,), "sealing": sealing})
        old = replace(made, manifest=manifest)

        verification.check_file(old, None)
        verification.check_seal(old, key.identities)
        verification.check_restore(old, key.identities, populated)
        lost = made.manifest.tables["users"].model_copy(update={"digest": "0"})
        tables = {**made.manifest.tables, "users": lost}
        other = replace(old, manifest=manifest.model_copy(update={"tables": tables}))
        with pytest.raises(NotProvenError, match="users"):
            verification.check_restore(other, key.identities, populated)


@restores
def test_a_proof_leaves_no_database_behind(populated: Session, make: Make) -> None:
    make(populated, proves=True)

    assert populated.rows(_PROOFS) == []


@restores
def test_a_scratch_database_of_a_killed_process_goes_at_the_next_proof(
    populated: Session, make: Make
) -> None:
    populated.execute("CREATE DATABASE opssight_proof_0123456789ab TEMPLATE template0")

    make(populated, proves=True)

    assert populated.rows(_PROOFS) == []


@restores
def test_a_scratch_database_in_use_by_another_proof_stays(populated: Session, make: Make) -> None:
    like = properties.read_properties(populated)
    with scratch.scratch(populated, like) as name:
        make(populated, proves=True)
        assert populated.rows(_PROOFS) == [(name,)]


@restores
def test_a_restore_that_lost_a_row_is_no_proof(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = comparison.refuse_differences

    def lose_a_row(session: Session, database: str, tables: Any) -> None:
        restored = siblings.sibling(session, database, "thief")
        restored.execute(
            "DELETE FROM team_memberships WHERE ctid = (SELECT min(ctid) FROM team_memberships)"
        )
        restored.close()
        compare(session, database, tables)

    monkeypatch.setattr(comparison, "refuse_differences", lose_a_row)

    with pytest.raises(NotProvenError, match="team_memberships"):
        make(populated, proves=True)

    assert files(shelf) == []
    assert populated.rows(_PROOFS) == []


def test_a_role_that_may_make_no_database_can_back_up_but_not_prove(
    populated: Session, make: Make
) -> None:
    assert make(populated).manifest.rows > 2_000

    with pytest.raises(PrivilegeError, match="scratch database"):
        make(populated, proves=True)


def test_a_killed_pg_dump_leaves_nothing_that_looks_whole(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = dump.Dump.read

    def read_and_kill(self: dump.Dump, size: int = -1) -> bytes:
        piece = read(self, size)
        self._process.send_signal(signal.SIGKILL)
        return piece

    monkeypatch.setattr(dump.Dump, "read", read_and_kill)

    with pytest.raises(BackupError, match="pg_dump ended with signal 9"):
        make(populated)

    assert files(shelf) == []


def test_what_pg_dump_says_is_told(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = siblings.for_program

    def elsewhere(session: Session, database: str | None = None) -> siblings.ProgramConnection:
        return reached(session, "no_such_database")

    monkeypatch.setattr(siblings, "for_program", elsewhere)

    with pytest.raises(BackupError, match='database "no_such_database" does not exist'):
        make(populated)

    assert files(shelf) == []


def test_a_backup_that_is_given_up_ends_pg_dump_and_leaves_nothing(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    class EnoughError(Exception):
        pass

    def pulse() -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        make(populated, pulse=pulse)

    assert files(shelf) == []


def test_a_full_disk_is_an_error_also_at_the_last_byte(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = make(populated).path.stat().st_size
    before = files(shelf)
    for free in (0, size // 2, size - 500):

        class Small(seal.Counted):
            left = free

            def write(self, data: bytes) -> int:
                self.left -= len(data)
                if self.left < 0:
                    self.error = OSError(28, "No space left on device")
                    raise self.error
                return super().write(data)

        monkeypatch.setattr(seal, "Counted", Small)
        with pytest.raises(BackupError, match="No space left on device"):
            make(populated)
        monkeypatch.undo()
        assert files(shelf) == before


def test_a_shelf_that_cannot_be_written_is_named(
    populated: Session, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(BackupError, match="no backup can be written in"):
        make(populated, shelf=Shelf(tmp_path / "file"))


def test_a_shelf_without_room_is_refused_before_anything(
    populated: Session, make: Make, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = sizes.stored_bytes(populated)
    monkeypatch.setattr(room, "free_bytes", lambda _: stored // 3)

    with pytest.raises(NoRoomError, match="a backup needs about") as refused:
        make(populated)

    assert refused.value.exit_code is ExitCode.REFUSED
    assert not shelf.directory.exists()
    # What a backup takes is known once there is one.
    monkeypatch.setattr(room, "free_bytes", lambda _: stored)
    first = make(populated).manifest
    assert first.table_bytes == stored
    monkeypatch.setattr(room, "free_bytes", lambda _: int(first.bytes * 1.2))
    make(populated)
    monkeypatch.setattr(room, "free_bytes", lambda _: first.bytes)
    with pytest.raises(NoRoomError):
        make(populated)


def test_a_recipient_that_is_no_key_is_refused_before_anything(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    with pytest.raises(ConfigError, match="no public key"):
        make(populated, recipients=("age1nonsense",))

    assert files(shelf) == []


def test_what_a_killed_process_left_half_written_is_swept(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    shelf.directory.mkdir()
    (shelf.directory / ".backup_test_20260101T000000000000Z.dump.age.partial").write_bytes(b"half")

    made = make(populated)

    assert files(shelf) == sorted([made.path.name, made.manifest_path.name])


def test_the_hmac_tells_a_manifest_that_somebody_else_wrote(populated: Session, make: Make) -> None:
    secret = SecretStr("a manifest key")
    made = make(populated, manifest_key=secret)

    assert verification.check_file(made, secret)
    assert not verification.check_file(made, None)
    forged = Shelved(
        manifest_path=made.manifest_path,
        manifest=made.manifest.model_copy(update={"revision": "80bd6a3c3fa1"}),
        manifest_sha256=made.manifest_sha256,
    )
    with pytest.raises(ManifestError, match="not signed with this key"):
        verification.check_file(forged, secret)
    with pytest.raises(ManifestError, match="no HMAC"):
        verification.check_file(make(populated), secret)


def test_no_password_is_in_an_argument_or_in_the_files(
    populated: Session, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    popen = subprocess.Popen

    def remembered(command: list[str], **named: Any) -> Any:
        seen.append(command)
        return popen(command, **named)

    name = populated.connection.info.dbname
    conninfo = make_conninfo(populated.connection.info.dsn, password="hunter2-and-more")
    session = connect.opened(conninfo, application_name="test")
    monkeypatch.setattr(subprocess, "Popen", remembered)
    try:
        connection = siblings.for_program(session)
        made = make(session)
    finally:
        session.close()

    assert connection.environment["PGPASSWORD"] == "hunter2-and-more"
    assert "hunter2" not in connection.conninfo + repr(connection)
    assert seen
    assert not any("hunter2" in str(word) for command in seen for word in command)
    assert b"hunter2" not in made.manifest_path.read_bytes()
    assert name in connection.conninfo


def test_clients_that_are_too_old_are_refused_by_the_package_to_install(
    populated: Session, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [Clients(directory=Path("/opt/old"), version="9.6.24")]
    monkeypatch.setattr(clients, "_found", lambda: iter(old))

    with pytest.raises(ClientToolError, match=r"9\.6\.24 in /opt/old") as refused:
        make(populated)

    major = populated.server_version // 10_000
    assert refused.value.hint == f"install the package postgresql-client-{major}"


def test_clients_without_tls_are_not_taken_where_tls_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheel = [Clients(directory=Path("/wheel"), version="18.6", has_tls=False)]
    monkeypatch.setattr(clients, "_found", lambda: iter(wheel))

    assert clients.for_dump(15).major == 18
    with pytest.raises(ClientToolError, match="without TLS"):
        clients.for_dump(15, over_tls=True)


@restores
def test_a_newer_pg_restore_serves_an_older_server(
    populated: Session, make: Make, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pg_restore of 18 sets transaction_timeout, which 15 does not know."""
    populated.execute("UPDATE users SET bio = E'x\\nSET transaction_timeout = 0;\\ny'")
    newest = max(clients._found(), key=lambda found: found.major)
    monkeypatch.setattr(clients, "_found", lambda: iter([newest]))
    assert newest.major >= 18

    made = make(populated, proves=True)

    assert made.manifest.client_version == newest.version
    verification.check_restore(made, key.identities, populated)
