"""Every row of the five tenant tables belongs to an organization, whatever road it came by."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.model.plan import Estimate, Finding, PromisedLock, Severity, Undo
from opssight_migrate.opssight import rates, revisions
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import catalog, organizations, sql
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.steps.base import BatchedStep, StepContext, Walk

_BY_DEFAULT = "every row gets the default organization by the column's default: none is written"
_ROWS_WITHOUT_ORGANIZATION = "SELECT count(*) FROM {} WHERE organization_id IS NULL"

# A row follows its parent, so that none ends in another tenant than the row it points at; the
# parents are walked first. Rows without a parent go to the default organization.
_PARENTS: tuple[tuple[str, str | None, str | None], ...] = (
    ("users", None, None),
    ("teams", "created_by_user_id", "users"),
    ("projects", "team_id", "teams"),
    ("clusters", "project_id", "projects"),
    ("aws_accounts", "project_id", "projects"),
)
_FILL_BATCH = """
WITH slice AS (
    SELECT id FROM {table}
     WHERE id > coalesce(%(after)s::bigint, -9223372036854775808)
     ORDER BY id
     LIMIT %(limit)s
), filled AS (
    UPDATE {table} AS t
       SET organization_id = coalesce({parent}, %(organization)s)
     WHERE t.id > coalesce(%(after)s::bigint, -9223372036854775808)
       AND t.id <= (SELECT max(id) FROM slice) AND t.organization_id IS NULL
 RETURNING t.id
)
SELECT (SELECT max(id)::text FROM slice) AS last_key, (SELECT count(*) FROM filled) AS rows
"""
_ORGANIZATION_OF_PARENT = "(SELECT p.organization_id FROM {parents} AS p WHERE p.id = t.{column})"


class SettleOrganizations(BatchedStep):
    """Make sure of the default organization, fill what is NULL, then forbid NULL."""

    id = "settle-organizations"
    title = "Give every tenant row an organization"
    needs = revisions.MULTI_TENANCY
    audit = Audit(operation="UPDATE", severity="MEDIUM", table="organizations")
    undo_kind = Undo.ARCHIVE

    def estimate(self, ctx: StepContext) -> Estimate:
        """Rows without an organization; none where the column comes with its default."""
        missing = {table: _missing(ctx, table) for table in _nullable(ctx)}
        rows = sum(missing.values())
        if not missing:
            return Estimate(rows=0, notes=(_BY_DEFAULT,))
        return Estimate(
            rows=rows,
            reference_s=round(rows / rates.FILLED_ROWS_PER_S, 3),
            wal_bytes=rows * rates.FILLED_ROW_WAL_BYTES,
            locks=tuple(PromisedLock(relation=table) for table in missing),
            notes=tuple(
                f"{count:,} {table} have no organization and get one"
                for table, count in missing.items()
                if count
            ),
        )

    def prepare(self, ctx: StepContext) -> None:
        """The organization exists, and new rows of the old release get it at once."""
        organization = _ensured(ctx)
        for table in _nullable(ctx):
            ctx.ddl.default(table, "organization_id", sql.Literal(organization))

    def walks(self, ctx: StepContext) -> Iterable[Walk]:
        """One walk for each table whose column is still nullable, parents first."""
        organization = _ensured(ctx)
        for table, column, parents in _PARENTS:
            if table not in _nullable(ctx):
                continue
            parent: sql.Composable = sql.SQL("NULL")
            if column is not None and parents is not None:
                parent = sql.SQL(_ORGANIZATION_OF_PARENT).format(
                    parents=sql.Identifier(parents), column=sql.Identifier(column)
                )
            yield Walk(
                table=table,
                batch_sql=sql.SQL(_FILL_BATCH).format(table=sql.Identifier(table), parent=parent),
                parameters={"organization": organization},
            )

    def finish(self, ctx: StepContext) -> None:
        """Forbid NULL without a scan under a strong lock."""
        for table in _nullable(ctx):
            ctx.ddl.not_null(table, "organization_id")

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """The default organization exists and no tenant table accepts a row without one."""
        settings = ctx.profile.tenancy.default_organization
        found = organizations.default_organization(ctx.session, settings.name, settings.slug)
        if found is None:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"there is no organization {settings.slug!r}",
            )
        for table in _nullable(ctx):
            rows = _missing(ctx, table)
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"{table}.organization_id accepts NULL ({rows:,} rows have it)",
                where=table,
                rows=rows,
            )


def _ensured(ctx: StepContext) -> int:
    settings = ctx.profile.tenancy.default_organization
    return organizations.ensure_default_organization(ctx.session, settings.name, settings.slug)


def _nullable(ctx: StepContext) -> tuple[str, ...]:
    """The tenant tables whose organization_id is there and still nullable."""
    return tuple(
        table
        for table in TENANT_TABLES
        if (state := catalog.column_state(ctx.session, table, "organization_id")) is not None
        and not state.not_null
    )


def _missing(ctx: StepContext, table: str) -> int:
    return int(
        ctx.session.scalar(sql.SQL(_ROWS_WITHOUT_ORGANIZATION).format(sql.Identifier(table)))
    )
