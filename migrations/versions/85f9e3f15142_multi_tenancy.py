"""Multi-tenancy: organizations, and an organization_id on the five tenant tables.

Revision ID: 85f9e3f15142
Revises: d8b40ecdc203
"""

from psycopg import sql

from opssight_migrate.opssight import shims
from opssight_migrate.opssight.tables import TENANT_TABLES
from opssight_migrate.postgres import organizations
from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import NewTable

revision = "85f9e3f15142"
down_revision = "d8b40ecdc203"

ORGANIZATIONS = NewTable(
    "organizations",
    """
CREATE TABLE organizations (
    id serial PRIMARY KEY, name varchar(255) NOT NULL, slug varchar(100) NOT NULL,
    display_name varchar(255), description text, website varchar(500),
    contact_email varchar(255), phone varchar(50), address_line1 varchar(255),
    address_line2 varchar(255), city varchar(100), state varchar(100), postal_code varchar(20),
    country varchar(100), timezone varchar(50) NOT NULL, currency varchar(3) NOT NULL,
    date_format varchar(20) NOT NULL, is_active boolean NOT NULL, is_verified boolean NOT NULL,
    subscription_tier varchar(50) NOT NULL, max_users integer NOT NULL,
    max_projects integer NOT NULL, max_clusters integer NOT NULL,
    storage_limit_gb integer NOT NULL, billing_email varchar(255), tax_id varchar(100),
    features json, settings json, org_metadata json, created_by integer,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_organizations_id ON organizations (id);
CREATE UNIQUE INDEX ix_organizations_name ON organizations (name);
CREATE UNIQUE INDEX ix_organizations_slug ON organizations (slug);
""",
)


def upgrade() -> None:
    """Expand: whatever was there belongs to the default organization at once.

    The column's default is a constant, so no row is written; it stays, as a shim, for the
    INSERTs of the old release.
    """
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    ddl.table(ORGANIZATIONS)
    for table in TENANT_TABLES:
        definition: sql.Composable = sql.SQL("integer NOT NULL")
        if ddl.leaves_shims:
            default = _default_of(ddl, table)
            definition = sql.SQL("integer NOT NULL DEFAULT {}").format(sql.Literal(default))
        ddl.column(table, "organization_id", definition)
        ddl.index(f"ix_{table}_organization_id", table, ("organization_id",))
        ddl.foreign_key(table, "organization_id", "organizations")
    for shim in shims.once_unique_at(revision):
        ddl.retire_unique(shim)


def _default_of(ddl: Ddl, table: str) -> int:
    """What was usual before a rollback, so that its archive fits; else the default organization."""
    usual = ddl.usual(table, "organization_id")
    if isinstance(usual, int) and organizations.exists(ddl.session, usual):
        return usual
    return organizations.ensure_default_organization(ddl.session, *ddl.organization)


def downgrade() -> None:
    """Take the organizations away again, to the archive; refused where there is none for them."""
    with undoing() as ddl:
        ddl.refuse(
            tables=["organizations"],
            columns=[(table, "organization_id") for table in TENANT_TABLES],
        )
        for shim in shims.once_unique_at(revision):
            ddl.restore_unique(shim)
        for table in TENANT_TABLES:
            ddl.drop_constraint(table, f"{table}_organization_id_fkey")
            ddl.drop_column(table, "organization_id")
        ddl.drop_table("organizations")
