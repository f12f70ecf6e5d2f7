"""A backup restored beside the live database, made ready to take its place."""

from __future__ import annotations

from opssight_migrate.backups import seal
from opssight_migrate.backups.creation import uses_tls
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.postgres import catalog, clients, journal, siblings
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier

_APPLICATION = "opssight-migrate/replacement"
_SNAPSHOT = "SELECT pg_export_snapshot()"
_MARKED = """
UPDATE opssight_migrate.installation
   SET database_oid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# The audit log goes back to the backup; what the journal wrote there since is to be written again.
_OWED = """
UPDATE opssight_migrate.audit_rows AS j SET written_at = NULL
 WHERE j.written_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM public.audit_logs AS a WHERE a.audit_id = j.audit_id)
"""
_ALL_OWED = "UPDATE opssight_migrate.audit_rows SET written_at = NULL WHERE written_at IS NOT NULL"


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


def owe_audit_rows(restored: Session) -> None:
    """Have the audit rows that the restored audit log lacks written to it again, or to the next."""
    has_audit_log = catalog.relation_exists(restored, "audit_logs")
    restored.execute(_OWED if has_audit_log else _ALL_OWED)


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
            options=(f"--schema={journal.SCHEMA}",),
        )
        try:
            while piece := source.read(seal.CHUNK_BYTES):
                restoring.write(piece)
            restoring.finish()
        finally:
            source.kill()
            restoring.kill()
