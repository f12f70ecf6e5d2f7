"""What a data rollback takes beside our own backups: archives of pg_dump, and plain SQL of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands.conftest import error_of, everything
from tests.commands.test_rollback_data import conninfo_of, dropped, restored, settings

from opssight_migrate.backups.sql_script import safe_lines
from opssight_migrate.model.errors import UnsafeScriptError
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import clients, journal, marker
from opssight_migrate.postgres.connect import facts
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_further_grants("a swap renames the database and makes another")

__all__ = ["settings"]

_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"


def dumped(session: Session, path: Path, *options: str) -> Path:
    """Dump a database by hand."""
    tools = clients.for_dump(session.server_version // 10_000)
    subprocess.run(
        [tools.program("pg_dump"), *options, "--file", str(path), session.connection.info.dsn],
        env={key: value for key, value in os.environ.items() if not key.startswith("PG")},
        check=True,
    )
    return path


@pytest.mark.parametrize("options", [("-Fc",), ("-Fd",), ("-Fp",)], ids=["custom", "dir", "sql"])
def test_a_dump_made_by_hand_takes_the_place_too(
    settings: Settings, joined: Callable[[str], Session], tmp_path: Path, options: tuple[str, ...]
) -> None:
    conninfo = conninfo_of(settings)
    session = joined(conninfo)
    before = everything(session)
    path = dumped(session, tmp_path / "pre_migration_backup.sql", *options)
    session.execute("DELETE FROM team_memberships")
    session.close()

    report = restored(settings, path)

    assert report.exit_code == 0, report.diagnostics
    assert any("without a manifest" in one for one in report.announcements)
    [check] = [one for one in report.checks if one.id == "digests"]
    assert (check.status, check.reason) == ("skipped", "no manifest")
    assert {one.kind for one in report.losses} == {"deleted since"}
    again = joined(conninfo)
    after = everything(again)
    assert after.catalogue == before.catalogue
    assert {table: after.rows[table] for table in before.rows} == before.rows
    again.close()
    dropped(conninfo, *report.retired)


def test_what_is_damaged_foreign_or_unsafe_is_refused_and_leaves_nothing(
    settings: Settings, joined: Callable[[str], Session], tmp_path: Path
) -> None:
    session = joined(conninfo_of(settings))
    session.named("opssight-migrate/looking")
    with session.writing():
        journal.install(session)
        marker.mark(session, "production", facts(session), adopt=False)
    other_environment = dumped(session, tmp_path / "production.sql")
    session.execute("UPDATE opssight_migrate.installation SET environment = 'test'")
    before, databases = everything(session), session.rows(_DATABASES)
    archive = dumped(session, tmp_path / "whole.dump", "-Fc").read_bytes()
    script = dumped(session, tmp_path / "whole.sql").read_bytes()
    cases: dict[str, tuple[bytes, int, str]] = {
        "half.dump": (archive[: len(archive) // 2], 10, "cannot be"),
        "head.dump": (archive[:300], 10, "cannot be read"),
        "none.dump": (b"", 10, "the backup is empty"),
        "what.dump": (b"PK\x03\x04\0\0\0", 10, "neither a backup of ours"),
        "half.sql": (script[: len(script) // 2], 10, "not whole"),
        "bad_row.sql": (script.replace(b"\\.\n", b"bad\trow\n\\.\n", 1), 10, "cannot be restored"),
        "shell.sql": (b"\\! touch /tmp/x\n" + script, 7, "line 1 is a command of psql"),
        "away.sql": (script + b"\\connect postgres\n", 7, "connects to another database"),
        "lone.dump.age": (b"age-encryption.org/v1\n-> X25519", 10, "manifest"),
        "lone.dump.zst": (b"\x28\xb5\x2f\xfd\x04\x58\0\0", 10, "manifest"),
        "other.dump": (
            archive.replace(session.connection.info.dbname.encode(), b"x" * 17),
            7,
            "this is a dump of database xxxx",
        ),
    }
    for name, (content, exit_code, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        report = restored(settings, tmp_path / name)
        assert (report.exit_code, name) == (exit_code, name), report.diagnostics
        assert words in error_of(report)[1], name
        assert session.rows(_DATABASES) == databases, name
    foreign = restored(settings, other_environment)
    assert (foreign.exit_code, error_of(foreign)[0]) == (7, "OM322")
    assert "environment 'production'" in error_of(foreign)[1]
    assert everything(session) == before
    assert session.rows(_DATABASES) == databases


_SAFE = (
    b"\\restrict abc\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n"
    b'COPY public.t ("order", b) FROM stdin;\n\\N\tx\n\\\\! x\n\\.\n'
    b"CREATE FUNCTION f() RETURNS text AS $_$ '\\! $_$;\nCOMMENT ON TABLE t IS E'\\' \\! x';\n"
    b"/* /* \\! */ \\! */ SELECT a$b$ FROM t; -- \\!\n\\connect live\n\\unrestrict abc\n"
)


def test_a_script_is_read_as_psql_reads_it() -> None:
    kept = b"".join(safe_lines(_SAFE.splitlines(keepends=True), "live"))

    assert kept == b"".join(
        line
        for line in _SAFE.splitlines(keepends=True)
        if not line.startswith((b"\\restrict", b"\\unrestrict", b"\\connect"))
    )


@pytest.mark.parametrize(
    "script",
    [
        b"\\! ls\n",
        b"\\copy t FROM PROGRAM 'ls'\n",
        b"\\connect other\n",
        b"SELECT 1 \\g /tmp/x\n",
        b"SELECT '\\'; \\! ls'\n",
        b"SELECT LIKE'\\' \\! ls '\n",
        b"SELECT 1E'\\' \\! ls '\n",
        b"SELECT $1$$'$$ \\! ls '\n",
        b"SELECT a$b$ \\! ls $b$;\n",
        b"/* /* */ \\! */ \\! ls\n",
        b"COPY t FROM stdin; \\! ls\n",
        b"-- COPY t FROM stdin;\n\\! ls\n",
        b"/*\nCOPY t FROM stdin;\n*/\n\\! ls\n",
        b"SET standard_conforming_strings = off;\n",
        b"SET client_encoding = 'SJIS';\n",
        b"SELECT 'no end\n",
        b"COPY t FROM stdin;\n1\n",
        b"SELECT 1\n",
    ],
)
def test_what_psql_would_carry_out_itself_is_refused_wherever_it_hides(script: bytes) -> None:
    with pytest.raises(UnsafeScriptError) as refused:
        list(safe_lines(script.splitlines(keepends=True), "live"))

    assert refused.value.hint


def test_the_revision_of_a_dump_must_be_one_of_the_published(
    settings: Settings, joined: Callable[[str], Session], tmp_path: Path
) -> None:
    session = joined(conninfo_of(settings))
    session.named("opssight-migrate/looking")
    session.execute("UPDATE alembic_version SET version_num = 'd8b4'")
    path = dumped(session, tmp_path / "strange.dump", "-Fc")
    session.execute("UPDATE alembic_version SET version_num = %s", (START,))

    report = restored(settings, path)

    assert (report.exit_code, error_of(report)[0]) == (7, "OM301")
    assert "'d8b4' is none of the published ones" in error_of(report)[1]
