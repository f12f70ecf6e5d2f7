"""Text columns in which OpsSight keeps JSON hold JSON; told as a note, since nobody enforces it."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import digest, sql

_COLUMNS: dict[str, tuple[str, ...]] = {
    "projects": ("settings", "environment_config", "notification_config"),
    "teams": ("settings", "permissions"),
}
_BROKEN = """
SELECT count(*), (array_agg(t.id::text ORDER BY t.id))[1:5]
  FROM {table} AS t WHERE NOT ({column} IS JSON)
"""
_FIRST_WITH_IS_JSON = 160000


class JsonTextsParse(Check):
    """They were so before, and are carried through untouched; a new release may stumble on them."""

    id = "json-texts-parse"
    title = "Texts that should be JSON are"
    category = "integrity"
    needs = revisions.START

    def skipped(self, ctx: CheckContext) -> str | None:
        """Older servers cannot be asked without writing a function."""
        if ctx.session.server_version >= _FIRST_WITH_IS_JSON:
            return None
        return "PostgreSQL can be asked from 16 on"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Count the texts that do not parse."""
        present = digest.columns_by_table(ctx.session, _COLUMNS)
        for table, columns in _COLUMNS.items():
            for column in set(columns) & set(present.get(table, ())):
                query = sql.SQL(_BROKEN).format(
                    table=sql.Identifier("public", table), column=sql.Identifier("t", column)
                )
                rows, keys = ctx.session.rows(query)[0]
                if rows:
                    yield Finding(
                        check_id=self.id,
                        severity=Severity.NOTE,
                        message=f"texts in {table}.{column} are not JSON",
                        where=f"{table}.{column}",
                        rows=int(rows),
                        keys=tuple(keys),
                    )
