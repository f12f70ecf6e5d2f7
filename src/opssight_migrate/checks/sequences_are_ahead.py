"""Each sequence is beyond the greatest value in its column."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import sql

_OWNED = """
SELECT s.relname::text, t.relname::text, a.attname::text
  FROM pg_class AS s
  JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
   AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  JOIN pg_class AS t ON t.oid = d.refobjid
  JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
 WHERE s.relkind = 'S' AND s.relnamespace = 'public'::regnamespace
   AND has_table_privilege(t.oid, 'SELECT')  -- others' may be closed to us
   AND CASE s.relkind WHEN 'S' THEN has_sequence_privilege(s.oid, 'SELECT') END
 ORDER BY 1
"""
_BEHIND = """
SELECT s.last_value + CASE WHEN s.is_called THEN q.seqincrement ELSE 0 END, m.highest
  FROM {sequence} AS s
  JOIN pg_sequence AS q ON q.seqrelid = %s::regclass
 CROSS JOIN (SELECT max({column}) AS highest FROM {table}) AS m
 WHERE q.seqincrement > 0
   AND s.last_value + CASE WHEN s.is_called THEN q.seqincrement ELSE 0 END <= m.highest
"""


class SequencesAreAhead(Check):
    """Else the next INSERT is refused as a duplicate."""

    id = "sequences-are-ahead"
    title = "The next value of each sequence is free"
    category = "integrity"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare each owned sequence with its column."""
        for sequence, table, column in ctx.session.rows(_OWNED):
            name = sql.Identifier("public", sequence)
            query = sql.SQL(_BEHIND).format(
                sequence=name, column=sql.Identifier(column), table=sql.Identifier("public", table)
            )
            behind = ctx.session.row(query, (f'public."{sequence}"',))
            if behind is None:
                continue
            following, highest = behind
            mending = f"SELECT setval('public.{sequence}', {highest});"
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"{sequence} gives {following} next, and {table} goes up to {highest}",
                where=sequence,
                hint=mending,
                sql=mending,
            )
