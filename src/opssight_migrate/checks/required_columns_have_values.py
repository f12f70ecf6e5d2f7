"""A column that must have a value has one in every row, also where it was made nullable."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, reader, sql

_WITHOUT_VALUE = """
SELECT count(*), (array_agg(t.{key}::text))[1:5] FROM {table} AS t WHERE t.{column} IS NULL
"""


class RequiredColumnsHaveValues(Check):
    """Only columns that lost their NOT NULL are read: the server vouches for the others."""

    id = "required-columns-have-values"
    title = "Columns that OpsSight requires are filled"
    category = "integrity"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Count the NULLs."""
        wanted = golden(catalog.current_revision(ctx.session) or revisions.START)["tables"]
        actual = reader.readable(ctx.session, reader.read_catalogue(ctx.session))["tables"]
        for table in wanted.keys() & actual.keys():
            nullable = {c["name"] for c in actual[table]["columns"] if c["nullable"]}
            key = wanted[table]["primary_key"]
            for column in wanted[table]["columns"]:
                if column["nullable"] or column["name"] not in nullable or key is None:
                    continue
                query = sql.SQL(_WITHOUT_VALUE).format(
                    key=sql.Identifier(key["columns"][0]),
                    table=sql.Identifier("public", table),
                    column=sql.Identifier(column["name"]),
                )
                rows, keys = ctx.session.rows(query)[0]
                if rows:
                    yield Finding(
                        check_id=self.id,
                        severity=Severity.FAIL,
                        message=f"rows of {table} have no {column['name']}",
                        where=f"{table}.{column['name']}",
                        rows=int(rows),
                        keys=tuple(keys),
                        hint="fill them, or restore them from a backup; then SET NOT NULL again",
                    )
