"""The structure of a database and a sample of its rows, copied into an empty one."""

from __future__ import annotations

from io import BytesIO

from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.model.errors import RefusedError
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import (
    catalog,
    clients,
    excerpt,
    orphans,
    reader,
    siblings,
    timescale,
)
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_SNAPSHOT = "SELECT pg_export_snapshot()"
_SCHEMA = "public"
# Who only wants to look does not wait behind a strong lock for long.
_STRUCTURE = (f"--schema={_SCHEMA}", "--schema-only", "--lock-wait-timeout=10000")
_HURRIED = "ALTER DATABASE {name} SET synchronous_commit = off"


def copy_with_sample(source: Session, target: Session, *, most_rows: int) -> int:
    """Copy the structure of ``public``, up to ``most_rows`` rows of each table and their parents.

    Return the number of rows. The source is only read, in one snapshot; owners and grants stay
    behind. Tables come first, then rows, then keys and triggers, so that none of these fires.

    Raises: ClientToolError, BackupError, StatementError, RefusedError.
    """
    with source.reading():
        actual = reader.read_catalogue(source)
        if hypertables := [t for t in actual["tables"] if timescale.is_hypertable(source, t)]:
            raise RefusedError(
                f"{hypertables[0]} is a hypertable, and a sample goes into plain tables",
                hint="restore a backup beside: opssight-migrate rollback --type data --into NAME",
            )
        archive = _dumped(source)
        excerpt.make_extensions(source, target)
        _restored(archive, source, target, "--section=pre-data")
        current = catalog.current_revision(source) or revisions.START
        known = orphans.references(current, actual)
        chosen = excerpt.choose(source, actual, known, most_rows=most_rows)
        excerpt.copy(source, target, chosen)
        _restored(archive, source, target, "--section=post-data")
    return chosen.rows


def hurry(target: Session) -> None:
    """Let nobody wait for the disk in a database that a crash may take with it."""
    name = Identifier(target.connection.info.dbname)
    target.execute(SQL(_HURRIED).format(name=name))


def _dumped(source: Session) -> BytesIO:
    major = source.server_version // 10_000
    tools = clients.for_dump(major, over_tls=uses_tls(source))
    snapshot = source.scalar(_SNAPSHOT)
    dump = Dump(tools, siblings.for_program(source), snapshot, options=_STRUCTURE)
    held = BytesIO()
    try:
        while piece := dump.read():
            held.write(piece)
    finally:
        dump.kill()
    return held


def _restored(archive: BytesIO, source: Session, target: Session, section: str) -> None:
    majors = (target.server_version // 10_000, source.server_version // 10_000)
    dumped_by = clients.for_dump(majors[1], over_tls=uses_tls(source)).major
    tools = clients.for_restore(majors[0], dumped_by, over_tls=uses_tls(target))
    restoring = Restoring(
        tools,
        siblings.for_program(target),
        server_major=majors[0],
        as_owner=False,
        # Of a schema that is named, pg_dump takes the schema itself along, and public is there.
        only=(section, f"--schema={_SCHEMA}", "--no-comments", "--no-tablespaces"),
    )
    try:
        restoring.write(archive.getvalue())
        restoring.finish()
    finally:
        restoring.kill()
