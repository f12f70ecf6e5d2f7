"""The question for a passphrase, on a real terminal."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import pexpect
import pytest
from pydantic import SecretStr
from tests.cli.test_terminal import ended, environment, plain

from opssight_migrate.backups import passphrase, seal
from opssight_migrate.backups.manifest import DumpPart, Manifest, Origin, Properties
from opssight_migrate.model.report import utc_now

WORDS = "two words"
STEM = "backup_local_20260101T000000000000Z"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup that is sealed with WORDS; what is in it does not matter here."""
    public, sealed = passphrase.new_key(SecretStr(WORDS))
    content = io.BytesIO()
    seal.pyrage.encrypt_io(
        io.BytesIO(b"PGDMP"), content, [seal.pyrage.x25519.Recipient.from_str(public)]
    )
    part = DumpPart(
        name=f"{STEM}.dump.zst.age",
        holds="all",
        bytes=len(content.getvalue()),
        sha256=hashlib.sha256(content.getvalue()).hexdigest(),
    )
    origin = Origin(
        host="h", port=1, name="d", system_identifier="1", database_oid=1, server_version="18"
    )
    properties = Properties(
        owner="o", encoding="UTF8", collate="C", ctype="C", provider="c", locale=None,
        comment=None, connection_limit=-1, grants=None, settings=(),
        tablespace="pg_default",
    )  # fmt: skip
    manifest = Manifest(
        tool="t", made_at=utc_now(), environment="local", revision=None, origin=origin,
        client_version="18.6", wal_position="0/0", timeline=1, properties=properties, tables={},
        table_bytes=0, sealing="passphrase", sealed_key=sealed, parts=(part,), proven=False,
    )  # fmt: skip
    (tmp_path / ".git").mkdir()
    (tmp_path / "opssight.toml").write_text('[environments.local]\nurl = "embedded"\n')
    (tmp_path / part.name).write_bytes(content.getvalue())
    (tmp_path / f"{STEM}.manifest.json").write_text(manifest.to_json())
    return tmp_path / part.name


def verifying(backup: Path, *options: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "opssight_migrate", "backup", "verify", str(backup), *options],
        cwd=str(backup.parent),
        env=environment(backup.parent),
        encoding="utf-8",
        timeout=60,
        dimensions=(40, 200),
    )


def test_a_person_is_asked_without_an_echo(backup: Path) -> None:
    child = verifying(backup)
    child.expect(f"Passphrase of {STEM}.dump.zst.age: ")
    child.sendline(WORDS)
    said, code = ended(child)
    assert code == 0, said
    assert "ok       seal  The file opens from end to end" in plain(said)
    assert WORDS not in said


def test_a_wrong_one_and_ctrl_c_open_nothing(backup: Path) -> None:
    child = verifying(backup)
    child.expect("Passphrase of")
    child.sendline("other words")
    said, code = ended(child)
    assert (code, "OM803" in said) == (10, True)
    child = verifying(backup)
    child.expect("Passphrase of")
    child.sendintr()
    assert ended(child)[1] == 130


def test_where_nobody_can_be_asked_nobody_is(backup: Path) -> None:
    said, code = ended(verifying(backup, "--no-input"))
    assert (code, "Passphrase of" in said) == (0, False)
    assert "no passphrase is here" in plain(said)
