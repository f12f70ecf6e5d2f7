"""What came out of a backup, compared with what its manifest says went in."""

from __future__ import annotations

from collections.abc import Mapping

from opssight_migrate.backups.manifest import TableFacts
from opssight_migrate.model.errors import NotProvenError
from opssight_migrate.postgres import digest, siblings
from opssight_migrate.postgres.session import Session

_APPLICATION = "opssight-migrate/proof"
_SHOWN = 3


def refuse_differences(session: Session, database: str, tables: Mapping[str, TableFacts]) -> None:
    """Digest ``database``, on the session's server, and compare it table by table.

    Raises: NotProvenError, naming the tables.
    """
    restored = siblings.sibling(session, database, _APPLICATION)
    try:
        with restored.reading():
            found = digest.columns_by_table(restored)
            differing = sorted(set(found) ^ set(tables))
            for name, facts in tables.items():
                if name in differing:
                    continue
                now = digest.digest_table(restored, name, facts.columns)
                if (now.rows, now.value) != (facts.rows, facts.digest):
                    differing.append(f"{name} ({now.rows:,} of {facts.rows:,} rows)")
    finally:
        restored.close()
    if differing:
        more = len(differing) - _SHOWN
        named = ", ".join(differing[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise NotProvenError(
            f"the backup was restored and is not what was dumped: {named}",
            hint="take another backup: opssight-migrate backup list",
        )
