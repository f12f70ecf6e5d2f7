"""RBAC: user_roles, and roles and permissions that may belong to an organization.

Revision ID: 85832f9f86ce
Revises: 85f9e3f15142
"""

from psycopg import sql

from opssight_migrate.opssight import shims
from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import NewTable

revision = "85832f9f86ce"
down_revision = "85f9e3f15142"

USER_ROLES = NewTable(
    "user_roles",
    """
CREATE TABLE user_roles (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users,
    role_id integer NOT NULL REFERENCES roles,
    organization_id integer NOT NULL REFERENCES organizations,
    assigned_by integer REFERENCES users, notes varchar(500), is_active boolean NOT NULL,
    expires_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _user_org_role_uc UNIQUE (user_id, organization_id)
);
CREATE INDEX ix_user_roles_id ON user_roles (id);
CREATE INDEX ix_user_roles_organization_id ON user_roles (organization_id);
CREATE INDEX ix_user_roles_role_id ON user_roles (role_id);
CREATE INDEX ix_user_roles_user_id ON user_roles (user_id);
""",
)
SYSTEM_FLAGS = {"permissions": "is_system_permission", "roles": "is_system_role"}
ONCE_PER_ORGANIZATION = {"permissions": "_permission_name_org_uc", "roles": "_role_name_org_uc"}


def upgrade() -> None:
    """Expand: every role and permission that was there is a system one, without a write."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    ddl.table(USER_ROLES)
    flag, later = sql.SQL("boolean NOT NULL"), None
    if ddl.leaves_shims:
        # What is there is a system role; what the old release adds later has its own default.
        flag, later = sql.SQL("boolean NOT NULL DEFAULT true"), sql.SQL("SET DEFAULT false")
    for table, column in SYSTEM_FLAGS.items():
        ddl.column(table, "organization_id", sql.SQL("integer"))
        ddl.column(table, column, flag, then=later)
        ddl.index(f"ix_{table}_organization_id", table, ("organization_id",))
        ddl.unique_constraint(table, ONCE_PER_ORGANIZATION[table], ("name", "organization_id"))
        ddl.foreign_key(table, "organization_id", "organizations")
        ddl.values(table, column)
    for shim in shims.once_unique_at(revision):
        ddl.retire_unique(shim)


def downgrade() -> None:
    """Take assignments and tenants' roles away again, to the archive; else refused with any."""
    with undoing() as ddl:
        ddl.refuse(
            tables=["user_roles"],
            columns=[
                (table, column)
                for table, flag in SYSTEM_FLAGS.items()
                for column in ("organization_id", flag)
            ],
        )
        for table in SYSTEM_FLAGS:
            ddl.refuse_values(table, "organization_id")
        for shim in shims.once_unique_at(revision):
            ddl.restore_unique(shim)
        for table, flag in SYSTEM_FLAGS.items():
            ddl.drop_constraint(table, f"{table}_organization_id_fkey")
            ddl.drop_constraint(table, ONCE_PER_ORGANIZATION[table])
            ddl.drop_column(table, flag)
            ddl.drop_column(table, "organization_id")
        ddl.drop_table("user_roles")
