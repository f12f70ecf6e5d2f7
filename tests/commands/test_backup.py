"""``backup create | list | verify``, and the backup that ``migrate`` makes before it begins."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from tests.backups.conftest import new_key
from tests.commands.conftest import Asked, error_of, everything, run
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.backups import dump, room, scratch
from opssight_migrate.commands import backup, doctor, safety
from opssight_migrate.commands.backup import VerifyRequest
from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.rollback import RollbackRequest, rollback
from opssight_migrate.model.errors import NotConfirmedError
from opssight_migrate.model.events import BackupMade, Event, RunStarted, unheard
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.revisions import START, TARGET
from opssight_migrate.postgres import clients
from opssight_migrate.postgres.clients import Clients
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_AUDITED = """
SELECT description, additional_context->>'sha256' FROM audit_logs WHERE operation = 'EXPORT'
"""
KEY = new_key()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """The directory of the backups; nothing is there yet."""
    return tmp_path / "shelf"


@pytest.fixture
def sealing(settings_for: SettingsFor, shelf: Path) -> Callable[..., Settings]:
    """Make settings whose backups are sealed to KEY."""

    def make(conninfo: str, **changes: Any) -> Settings:
        keys = {"backup_dir": str(shelf), "backup_recipients": [KEY.public], **changes}
        return settings_for(conninfo, environments={"test": {"url": conninfo, **keys}})

    return make


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A file with the secret half of KEY, as age-keygen writes it."""
    path = tmp_path / "identity.txt"
    path.write_text(f"# created: today\n{KEY.text}\n")
    return path


def created(settings: Settings, *, proves: bool = False) -> Report:
    """Run ``backup create``."""
    return backup.create(settings, settings.profile(None), proves=proves, emit=unheard)


def verified(settings: Settings, **request: Any) -> Report:
    """Run ``backup verify``."""
    return backup.verify(settings.profile(None), VerifyRequest(**request), emit=unheard)


def statuses(report: Report) -> dict[str, str]:
    """Return what became of each check."""
    return {check.id: check.status for check in report.checks}


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_create_changes_nothing_in_the_database(
    database_at: DatabaseAt, sealing: Callable[..., Settings], opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    before = everything(opened(conninfo))

    report = created(sealing(conninfo), proves=True)

    assert report.exit_code == 0, report.diagnostics
    made, described = report.artifacts
    assert (made.kind, made.verified, described.kind) == ("backup", True, "manifest")
    assert Path(made.path).stat().st_size == made.bytes
    assert everything(opened(conninfo)) == before


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_what_was_made_is_listed_and_verified(
    database_at: DatabaseAt, sealing: Callable[..., Settings], identity: Path
) -> None:
    settings = sealing(database_at(START))
    made = created(settings).artifacts[0]

    assert [one.path for one in backup.listed(settings.profile(None)).artifacts] == [made.path]

    without = verified(settings)
    assert without.exit_code == 0
    assert statuses(without) == {
        "sha256": "passed",
        "signature": "skipped",
        "seal": "skipped",
        "restore": "skipped",
    }
    assert "no identity is here" in without.diagnostics[0].message
    with_identity = verified(settings, identity=identity, restores=True, path=Path(made.path))
    assert with_identity.exit_code == 0, with_identity.diagnostics
    assert statuses(with_identity) == {
        "sha256": "passed",
        "signature": "skipped",
        "seal": "passed",
        "restore": "passed",
    }


def test_the_identity_may_come_from_a_command_and_the_hmac_from_the_profile(
    database_at: DatabaseAt, sealing: Callable[..., Settings], identity: Path
) -> None:
    settings = sealing(
        database_at(START),
        backup_identity_command=f"cat {identity}",
        backup_manifest_key="a manifest key",
    )
    created(settings)

    report = verified(settings)

    assert statuses(report) == {
        "sha256": "passed",
        "signature": "passed",
        "seal": "passed",
        "restore": "skipped",
    }


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_a_passphrase_is_taken_from_its_command_or_asked_for(
    database_at: DatabaseAt, sealing: Callable[..., Settings]
) -> None:
    conninfo = database_at(START)
    keys = {"backup_recipients": [], "backup_passphrase_command": "echo two words"}
    settings = sealing(conninfo, **keys)
    asked: list[str] = []

    def answer(words: str) -> Callable[[str], SecretStr]:
        def ask(name: str) -> SecretStr:
            asked.append(name)
            return SecretStr(words)

        return ask

    made = created(settings)
    assert made.exit_code == 0, made.diagnostics
    assert "sealed with a passphrase" in made.diagnostics[0].message
    assert "two words" not in made.to_json()
    by_command = verified(settings, restores=True)
    assert statuses(by_command)["restore"] == "passed", by_command.diagnostics
    without = sealing(conninfo)
    path = Path(made.artifacts[0].path)
    shut = verified(without, path=path)
    assert (shut.exit_code, statuses(shut)["seal"]) == (0, "skipped")
    assert "no passphrase is here" in shut.diagnostics[0].message
    by_hand = verified(without, path=path, ask=answer("two words"))
    assert statuses(by_hand)["seal"] == "passed"
    wrong = verified(without, path=path, ask=answer("other words"))
    assert (wrong.exit_code, error_of(wrong)[0]) == (10, "OM803")
    assert asked == [path.name, path.name]
    silent = created(sealing(conninfo, **{**keys, "backup_passphrase_command": "true"}))
    assert (silent.exit_code, error_of(silent)[0]) == (4, "OM102")


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_a_backup_in_parts_is_one_line_of_the_list(
    database_at: DatabaseAt, sealing: Callable[..., Settings], identity: Path
) -> None:
    settings = sealing(database_at(START), backup_jobs=2)

    *dumps, manifest = created(settings).artifacts

    assert [one.kind for one in (*dumps, manifest)] == ["backup"] * 4 + ["manifest"]
    [line] = backup.listed(settings.profile(None)).artifacts
    assert (line.path, line.bytes) == (manifest.path, sum(one.bytes for one in dumps))
    report = verified(settings, path=Path(dumps[1].path), identity=identity, restores=True)
    assert statuses(report)["restore"] == "passed", report.diagnostics
    assert len(report.artifacts) == 5


def test_a_plan_says_that_the_shelf_has_no_room(
    database_at: DatabaseAt, sealing: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _: 1)
    settings = sealing(database_at(START))

    refused = run(settings)

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM301")
    assert "a backup needs about" in error_of(refused)[1]
    assert error_of(created(settings))[0] == "OM326"


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_doctor_names_what_keeps_a_backup_from_being_made(
    database_at: DatabaseAt,
    sealing: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    conninfo = database_at(START)

    def said(**keys: Any) -> tuple[str, str]:
        settings = sealing(conninfo, backup="required", **keys)
        profile = settings.profile(None)
        report = doctor.doctor(settings, profile, log_dir=tmp_path, emit=unheard)
        lines = [f"{one.message} {one.hint}" for one in report.diagnostics if one.code == "backup"]
        return statuses(report)["backup"], "; ".join(lines)

    assert said() == ("passed", "")
    assert said(backup_recipients=[])[0] == "failed"
    with monkeypatch.context() as patched:
        patched.setattr(room, "free_bytes", lambda _: 1)
        assert "a backup needs about" in said()[1]
    old = Clients(directory=Path("/opt/old"), version="9.6.24")
    monkeypatch.setattr(clients, "_found", lambda: iter([old]))
    status, words = said()
    assert status == "failed"
    assert "install the package postgresql-client-" in words


def test_verify_names_what_is_wrong_by_its_exit_code(
    database_at: DatabaseAt, sealing: Callable[..., Settings], tmp_path: Path, shelf: Path
) -> None:
    settings = sealing(database_at(START))
    nothing = verified(settings)
    assert (nothing.exit_code, error_of(nothing)[0]) == (10, "OM801")
    made = created(settings).artifacts
    other_key = tmp_path / "other.txt"
    other_key.write_text(new_key().text)
    no_key = tmp_path / "none.txt"
    no_key.write_text("hunter2-and-more")

    wrong = verified(settings, identity=other_key)
    assert (wrong.exit_code, error_of(wrong)[0]) == (10, "OM803")
    unreadable = verified(settings, identity=no_key)
    assert (unreadable.exit_code, error_of(unreadable)[0]) == (4, "OM102")
    assert "hunter2" not in unreadable.to_json()
    shut = verified(settings, restores=True)
    assert (shut.exit_code, error_of(shut)[0]) == (2, "OM101")
    manifest = Path(made[1].path)
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"environment": "test"', '"environment": "production"'))
    foreign = verified(settings)
    assert (foreign.exit_code, error_of(foreign)[0]) == (7, "OM322")
    manifest.write_text(whole[:-20])
    assert error_of(verified(settings))[0] == "OM804"
    assert [one.code for one in backup.listed(settings.profile(None)).diagnostics] == ["OM804"]
    manifest.write_text(whole)
    with Path(made[0].path).open("ab") as file:
        file.write(b"x")
    damaged = verified(settings)
    assert (damaged.exit_code, error_of(damaged)[0]) == (10, "OM802")


def test_without_recipients_nothing_is_made_unless_plain_files_are_allowed(
    database_at: DatabaseAt, sealing: Callable[..., Settings], shelf: Path
) -> None:
    conninfo = database_at(START)

    refused = created(sealing(conninfo, backup_recipients=[]))

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM323")
    assert not shelf.exists()
    plain = created(sealing(conninfo, backup_recipients=[], backup_plain=True))
    assert plain.exit_code == 0
    assert "not sealed" in plain.diagnostics[0].message


@pytest.mark.needs_further_grants("a proof restores into a new database")
def test_migrate_makes_a_backup_before_its_first_change(
    database_at: DatabaseAt, sealing: Callable[..., Settings], opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    events: list[Event] = []
    settings = sealing(conninfo, backup="required")

    report = run(settings, events=events)

    assert report.exit_code == 0, report.diagnostics
    made = report.artifacts[0]
    assert (made.kind, made.verified) == ("backup", True)
    kinds = [type(event) for event in events]
    assert kinds.index(BackupMade) < kinds.index(RunStarted)
    assert any(
        "a backup is made first: sealed to 1 recipient, proven" in one
        for one in report.announcements
    )
    manifest = json.loads(Path(report.artifacts[1].path).read_text())
    assert manifest["revision"] == START
    assert opened(conninfo).rows(_AUDITED) == [(f"backup {Path(made.path).name}", made.sha256)]
    # And a backup of a database with a journal is written down there.
    again = created(settings).artifacts[0]
    assert (f"backup {Path(again.path).name}", again.sha256) in opened(conninfo).rows(_AUDITED)


def test_a_backup_that_fails_stops_migrate_before_any_change(
    database_at: DatabaseAt,
    sealing: Callable[..., Settings],
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
    shelf: Path,
) -> None:
    conninfo = database_at(START)
    before = everything(opened(conninfo))
    read = dump.Dump.read

    def killed(self: dump.Dump, size: int = -1) -> bytes:
        self._process.kill()
        return read(self, size)

    monkeypatch.setattr(dump.Dump, "read", killed)

    report = run(sealing(conninfo))

    assert (report.exit_code, error_of(report)[0]) == (10, "OM801")
    assert report.diagnostics[-1].state == "nothing was changed"
    assert everything(opened(conninfo)) == before
    assert list(shelf.iterdir()) == []


def test_a_required_backup_that_cannot_be_made_is_refused_before_the_question(
    database_at: DatabaseAt, sealing: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    conninfo = database_at(START)
    asked = Asked()

    keyless = run(sealing(conninfo, backup="required", backup_recipients=[]), asked=asked)

    assert (keyless.exit_code, error_of(keyless)[0]) == (7, "OM301")
    assert "backup_recipients is empty" in error_of(keyless)[1]
    monkeypatch.setattr(scratch, "is_possible", lambda _: False)
    unproven = run(sealing(conninfo, backup="required"), asked=asked)
    assert unproven.exit_code == 7
    assert "scratch database" in error_of(unproven)[1]
    assert asked.plans == []


def test_a_dry_run_and_a_no_make_no_backup(
    database_at: DatabaseAt, sealing: Callable[..., Settings], shelf: Path
) -> None:
    def no(plan: Plan, is_copy: bool) -> None:
        raise NotConfirmedError("declined")

    settings = sealing(database_at(START))

    assert run(settings, MigrateRequest(dry_run=True)).exit_code == 0
    assert run(settings, asked=no).exit_code == 11  # type: ignore[arg-type]
    assert not shelf.exists()


@pytest.mark.parametrize("keys", [{"backup": "never"}, {"backup_recipients": []}])
def test_never_and_auto_without_a_key_make_none(
    database_at: DatabaseAt, sealing: Callable[..., Settings], shelf: Path, keys: dict[str, Any]
) -> None:
    report = run(sealing(database_at(START), **keys))

    assert report.exit_code == 0, report.diagnostics
    assert not shelf.exists()
    said = [one for one in report.announcements if "no backup is made" in one]
    assert len(said) == (0 if "backup" in keys else 1)


def test_a_backup_of_a_database_marked_for_another_environment_is_refused(
    database_at: DatabaseAt, sealing: Callable[..., Settings], shelf: Path
) -> None:
    conninfo = database_at(START)
    settings = sealing(conninfo, backup="never")
    assert run(settings).exit_code == 0
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("UPDATE opssight_migrate.installation SET environment = 'other'")

    report = created(settings)

    assert (report.exit_code, error_of(report)[0]) == (4, "OM104")
    assert report.revision is not None
    assert report.revision.to == TARGET
    assert not shelf.exists()


def test_a_signal_during_the_backup_stops_before_any_change(
    database_at: DatabaseAt,
    sealing: Callable[..., Settings],
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
    shelf: Path,
) -> None:
    conninfo = database_at(START)
    before = everything(opened(conninfo))
    read = dump.Dump.read

    def signalled(self: dump.Dump, size: int = -1) -> bytes:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        return read(self, size)

    monkeypatch.setattr(dump.Dump, "read", signalled)

    report = run(sealing(conninfo))

    assert (report.exit_code, report.status) == (143, "interrupted")
    assert report.diagnostics[-1].state == "nothing was changed"
    assert everything(opened(conninfo)) == before
    assert list(shelf.iterdir()) == []


def test_a_rollback_makes_a_backup_first_and_stops_where_it_cannot(
    database_at: DatabaseAt, sealing: Callable[..., Settings], opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    assert run(sealing(conninfo, backup="never")).exit_code == 0
    request = RollbackRequest(to_revision=START)

    def back(settings: Settings) -> Report:
        profile = settings.profile(None)
        return rollback(
            settings,
            profile,
            request,
            confirm=Asked(),
            emit=unheard,
            safety_backup=safety.before(profile, unheard),
        )

    refused = back(sealing(conninfo, backup="required", backup_recipients=[]))
    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM323")
    assert opened(conninfo).scalar("SELECT version_num FROM alembic_version") == TARGET
    settings = sealing(conninfo)
    report = back(settings)
    assert report.exit_code == 0, report.diagnostics
    made = backup.listed(settings.profile(None)).artifacts
    assert [one.kind for one in made] == ["backup"]
    assert safety.shelf_of(settings.profile(None)).listed()[0].manifest.revision == TARGET  # type: ignore[union-attr]
