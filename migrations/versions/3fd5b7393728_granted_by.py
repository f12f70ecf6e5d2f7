"""Granted by: who gave a user a permission.

Revision ID: 3fd5b7393728
Revises: e988b93edd68
"""

from psycopg import sql

from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl

revision = "3fd5b7393728"
down_revision = "e988b93edd68"


def upgrade() -> None:
    """Add the column, its index and its foreign key."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    ddl.column("user_permissions", "granted_by", sql.SQL("integer"))
    ddl.index("ix_user_permissions_granted_by", "user_permissions", ("granted_by",))
    ddl.foreign_key("user_permissions", "granted_by", "users")


def downgrade() -> None:
    """Take the column away, its values to the archive; refused with a value and without one."""
    with undoing() as ddl:
        ddl.refuse(columns=[("user_permissions", "granted_by")])
        ddl.refuse_values("user_permissions", "granted_by")
        ddl.drop_constraint("user_permissions", "user_permissions_granted_by_fkey")
        ddl.drop_column("user_permissions", "granted_by")
