"""User permissions: grants to one user, beside roles.

Revision ID: e988b93edd68
Revises: 80bd6a3c3fa1
"""

from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import NewTable

revision = "e988b93edd68"
down_revision = "80bd6a3c3fa1"

USER_PERMISSIONS = NewTable(
    "user_permissions",
    """
CREATE TABLE user_permissions (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users,
    permission_id integer NOT NULL REFERENCES permissions,
    organization_id integer REFERENCES organizations, is_active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT _user_permission_uc UNIQUE (user_id, permission_id, organization_id)
);
CREATE INDEX ix_user_permissions_id ON user_permissions (id);
CREATE INDEX ix_user_permissions_organization_id ON user_permissions (organization_id);
CREATE INDEX ix_user_permissions_permission_id ON user_permissions (permission_id);
CREATE INDEX ix_user_permissions_user_id ON user_permissions (user_id);
""",
)


def upgrade() -> None:
    """Make the table."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    ddl.table(USER_PERMISSIONS)


def downgrade() -> None:
    """Take the table away, to the archive; refused with a row and without an archive."""
    with undoing() as ddl:
        ddl.refuse(tables=[USER_PERMISSIONS.name])
        ddl.drop_table(USER_PERMISSIONS.name)
