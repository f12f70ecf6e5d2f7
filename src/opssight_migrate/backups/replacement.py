"""A backup restored beside the live database, made ready to take its place."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.backups import seal
from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.manifest import Manifest
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.postgres import clients, digest, journal, siblings
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_APPLICATION = "opssight-migrate/replacement"
_SNAPSHOT = "SELECT pg_export_snapshot()"
_MARKED = """
UPDATE opssight_migrate.installation
   SET database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A table that is not what it was at the backup; ``rows_then`` None where there was none.

    Going back undoes every insert, update and delete in it since then.
    """

    table: str
    rows_now: int
    rows_then: int | None


def changed_since(session: Session, made: Manifest) -> tuple[Changed, ...]:
    """Return the live database's tables that differ from the backup's, by digest, not by guess.

    A table that has a column less than then, or is gone, differs; a column more does not count.
    """
    found: list[Changed] = []
    with session.reading():
        for table, columns in digest.columns_by_table(session).items():
            then = made.tables.get(table)
            common = then.columns if then and set(then.columns) <= set(columns) else columns
            now = digest.digest_table(session, table, common)
            is_equal = then is not None and (now.rows, now.value) == (then.rows, then.digest)
            if not is_equal and (now.rows or then is not None):
                rows_then = None if then is None else then.rows
                found.append(Changed(table=table, rows_now=now.rows, rows_then=rows_then))
    return tuple(found)


def carry_journal(live: Session, database: str) -> None:
    """Put the live journal in the place of the one that ``database`` was restored with.

    Its marker then names the new database, so that this is no copy of the environment's own.
    """
    restored = siblings.sibling(live, database, _APPLICATION)
    try:
        restored.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(journal.SCHEMA)))
        if not journal.exists(live):
            return
        _copy_schema(live, database)
        restored.execute(_MARKED)
    finally:
        restored.close()


def _copy_schema(live: Session, database: str) -> None:
    major = live.server_version // 10_000
    tools = clients.for_dump(major, over_tls=uses_tls(live))
    restorer = clients.for_restore(major, tools.major, over_tls=uses_tls(live))
    with live.reading():
        restoring = Restoring(
            restorer, siblings.for_program(live, database), server_major=major, as_owner=True
        )
        source = Dump(
            tools,
            siblings.for_program(live),
            live.scalar(_SNAPSHOT),
            schema=journal.SCHEMA,
        )
        try:
            while piece := source.read(seal.CHUNK_BYTES):
                restoring.write(piece)
            restoring.finish()
        finally:
            source.kill()
            restoring.kill()
