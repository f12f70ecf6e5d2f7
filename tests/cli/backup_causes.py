"""What makes the error codes of backups come about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pyrage  # type: ignore[import-untyped]
from tests.cli.causes import Ended, Scene
from tests.least import as_superuser

PLAIN = "backup_plain = true"
_LATE = """
INSERT INTO users (github_id, github_username, email, is_active, is_superuser)
VALUES ('late', 'late', 'late@example.com', true, false)
"""


def shelved(scene: Scene, *lines: str) -> Path:
    """Make a backup of a database in use; return where it lies."""
    scene.populated(f'backup_dir = "{scene.place}/shelf"', *lines)
    done = scene.run("backup", "create")
    assert done.code == 0, done.said
    (dump,) = (scene.place / "shelf").glob("*.dump*")
    return dump


def edited(dump: Path, **changes: Any) -> None:
    """Write something else into the manifest, which no key of ours signed."""
    (manifest,) = dump.parent.glob("*.manifest.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def a_required_backup_without_a_key(scene: Scene) -> Ended:
    scene.populated('backup = "required"')
    return scene.run("backup", "create")


def no_such_backup(scene: Scene) -> Ended:
    scene.configure()
    return scene.run("backup", "verify", "nowhere.dump")


def a_damaged_backup(scene: Scene) -> Ended:
    dump = shelved(scene, PLAIN)
    dump.write_bytes(dump.read_bytes()[:-1])
    return scene.run("backup", "verify", str(dump))


def another_key(scene: Scene) -> Ended:
    ours, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    dump = shelved(scene, f'backup_recipients = ["{ours.to_public()}"]')
    (scene.place / "key").write_text(str(other))
    return scene.run("backup", "verify", str(dump), "--identity", "key")


def a_manifest_that_is_none(scene: Scene) -> Ended:
    dump = shelved(scene, PLAIN)
    (manifest,) = dump.parent.glob("*.manifest.json")
    manifest.write_text("{}")
    return scene.run("backup", "verify", str(dump))


def another_environments_backup(scene: Scene) -> Ended:
    dump = shelved(scene, PLAIN)
    scene.configure(name="other")
    return scene.run("backup", "verify", str(dump))


def a_backup_that_is_not_what_its_manifest_says(scene: Scene) -> Ended:
    dump = shelved(scene, PLAIN)
    (manifest,) = dump.parent.glob("*.manifest.json")
    tables = json.loads(manifest.read_text())["tables"]
    edited(dump, tables=tables | {"users": tables["users"] | {"rows": 7}})
    scene.may_restore()
    return scene.run("backup", "verify", str(dump), "--restore")


def tables_that_grew_beyond_the_disk(scene: Scene) -> Ended:
    edited(shelved(scene, PLAIN), table_bytes=1)
    return scene.run("backup", "create")


def a_key_that_no_program_can_be_given(scene: Scene) -> Ended:
    scene.configure(f"{scene.database_at('d8b40ecdc203')} sslpassword=secret", PLAIN)
    return scene.run("backup", "create")


def a_script_with_a_command(scene: Scene) -> Ended:
    scene.populated(PLAIN)
    scene.may_restore()
    script = "SELECT 1;\n\\! touch done\n-- PostgreSQL database dump complete\n"
    (scene.place / "dump.sql").write_text(script)
    ended = scene.run("rollback", "--type", "data", "--backup-file", "dump.sql", "--yes")
    assert not (scene.place / "done").exists()
    return ended


def rows_written_while_it_asks(scene: Scene) -> Ended:
    dump = shelved(scene, PLAIN)
    scene.may_restore()

    def write() -> None:
        with psycopg.connect(as_superuser(scene.url), autocommit=True) as somebody:
            somebody.execute(_LATE)

    return scene.asked("rollback", "--type", "data", "--backup-file", str(dump), meanwhile=write)
