"""The damage matrix: each kind is found, named, and comes with its exit code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.backups.conftest import Key, Make, new_key

from opssight_migrate.backups import verification
from opssight_migrate.backups.shelf import Shelf, Spoilt, taken
from opssight_migrate.model.errors import (
    BackupError,
    DamagedBackupError,
    ExitCode,
    ForeignBackupError,
    ManifestError,
    WrongKeyError,
)
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
restores = pytest.mark.needs_further_grants("a backup is restored into a new database")

_DATABASES = "SELECT datname FROM pg_database ORDER BY 1"


def flipped(content: bytes, place: int) -> bytes:
    """Return ``content`` with one bit of one byte turned over."""
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped first byte": lambda content: flipped(content, 0),
    "a flipped byte in the middle": lambda content: flipped(content, len(content) // 2),
    "a flipped last byte": lambda content: flipped(content, len(content) - 1),
    "a missing byte": lambda content: content[:-1],
    "a byte too many": lambda content: content + b"x",
    "cut in half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
}


@restores
@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "plain"])
def test_a_damaged_file_is_found_and_nothing_of_it_is_restored(
    populated: Session, make: Make, key: Key, is_sealed: bool
) -> None:
    made = make(populated) if is_sealed else make(populated, recipients=())
    content = made.path.read_bytes()
    before = populated.rows(_DATABASES)
    for name, damage in DAMAGES.items():
        made.path.write_bytes(damage(content))

        with pytest.raises(DamagedBackupError) as found:
            verification.check_file(made, None)
        with pytest.raises(DamagedBackupError):
            verification.check_restore(made, key.identities, populated)

        assert found.value.exit_code is ExitCode.BACKUP, name
        assert populated.rows(_DATABASES) == before, name


@pytest.mark.parametrize(
    ("broken", "changes"),
    [("seal", {}), ("compression", {"recipients": ()})],
    ids=["sealed", "plain"],
)
def test_what_a_forged_manifest_hides_is_found_by_opening(
    populated: Session, make: Make, key: Key, broken: str, changes: dict[str, Any]
) -> None:
    made = make(populated, **changes)
    whole = made.path.read_bytes()
    for damage in DAMAGES.values():
        content = damage(whole)
        made.path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        [part] = made.manifest.parts
        part = part.model_copy(update={"bytes": len(content), "sha256": digest})
        forged = replace(made, manifest=made.manifest.model_copy(update={"parts": (part,)}))

        verification.check_file(forged, None)
        with pytest.raises(DamagedBackupError, match=f"{broken} is broken"):
            verification.check_seal(forged, key.identities)


def test_another_key_is_told_from_damage(populated: Session, make: Make) -> None:
    made = make(populated)

    with pytest.raises(WrongKeyError) as refused:
        verification.check_seal(made, new_key().identities)

    assert refused.value.exit_code is ExitCode.BACKUP


def test_a_dump_that_is_gone_is_named(populated: Session, make: Make) -> None:
    made = make(populated)
    made.path.unlink()

    with pytest.raises(DamagedBackupError, match="No such file"):
        verification.check_file(made, None)


def test_another_environments_backup_is_refused(populated: Session, make: Make) -> None:
    made = make(populated)

    with pytest.raises(ForeignBackupError, match="'test', not of 'production'") as refused:
        verification.refuse_other_environment(made, "production")

    assert refused.value.exit_code is ExitCode.REFUSED


def test_another_databases_backup_is_refused(populated: Session, make: Make) -> None:
    made = make(populated)
    origin = made.manifest.origin

    verification.refuse_other_database(made, origin.system_identifier, origin.name)
    for server, name in ((origin.system_identifier, "other"), ("1", origin.name)):
        with pytest.raises(ForeignBackupError, match="another database"):
            verification.refuse_other_database(made, server, name)


def _without(name: str) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(f'"{name}"'.encode(), b'"unknown"', 1)


BAD_MANIFESTS: list[Callable[[bytes], bytes]] = [
    lambda _: b"",
    lambda content: content[:-30],
    _without("tables"),
    _without("sha256"),
]


def test_a_bad_manifest_is_no_backup_and_does_not_hide_the_others(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    good = make(populated)
    made = make(populated)
    whole = made.manifest_path.read_bytes()
    for damage in BAD_MANIFESTS:
        made.manifest_path.write_bytes(damage(whole))

        with pytest.raises(ManifestError):
            taken(made.path)
        spoilt, kept = shelf.listed("test")
        assert isinstance(spoilt, Spoilt)
        assert kept == good
        assert shelf.newest("test") == good


def test_a_manifest_cannot_point_at_a_file_elsewhere(populated: Session, make: Make) -> None:
    made = make(populated)
    content = made.manifest_path.read_text().replace(made.path.name, "../elsewhere.dump")
    made.manifest_path.write_text(content)

    with pytest.raises(ManifestError, match="elsewhere"):
        taken(made.manifest_path)


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="there is no backup"):
        taken(tmp_path / "backup_test_20260101T000000000000Z.dump.zst.age")


def test_a_dump_without_a_manifest_is_not_on_the_shelf(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    made = make(populated)
    made.manifest_path.unlink()

    assert shelf.listed() == []
    with pytest.raises(ManifestError, match="No such file"):
        taken(made.path)


@restores
def test_the_shelf_tells_environments_apart_and_the_newest_proven_one(
    populated: Session, make: Make, shelf: Shelf
) -> None:
    proven = make(populated, proves=True)
    newest = make(populated)
    other = make(populated, environment="test_too")

    assert shelf.listed() == [other, newest, proven]
    assert shelf.listed("test") == [newest, proven]
    assert shelf.newest("test") == newest
    assert shelf.newest("test", proven=True) == proven
    assert shelf.newest("nowhere") is None
