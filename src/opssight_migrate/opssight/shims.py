"""What stands beside the golden catalogue until ``cleanup``, to keep the old release working."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.opssight.revisions import MULTI_TENANCY, RBAC
from opssight_migrate.opssight.tables import TENANT_TABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultShim:
    """A column default that gives the old release's INSERTs a value they do not know of."""

    revision: str
    table: str
    column: str

    @property
    def name(self) -> str:
        """How ``status`` and the plan call it."""
        return f"default of {self.table}.{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueShim:
    """A once-unique index, renamed aside; its plain twin carries the golden name.

    It serves the old release's ``ON CONFLICT`` and keeps the column unique across organizations.
    """

    revision: str
    table: str
    column: str

    @property
    def golden_index(self) -> str:
        """The name that was unique before the revision and is plain after it."""
        return f"ix_{self.table}_{self.column}"

    @property
    def index(self) -> str:
        """The name under which the unique index goes on."""
        return f"{self.golden_index}_once_unique"

    @property
    def twin(self) -> str:
        """The name of the plain index while it is being built."""
        return f"{self.golden_index}_twin"

    @property
    def name(self) -> str:
        """How ``status`` and the plan call it."""
        return f"unique index {self.index}"


DEFAULTS: tuple[DefaultShim, ...] = (
    *(
        DefaultShim(revision=MULTI_TENANCY, table=table, column="organization_id")
        for table in TENANT_TABLES
    ),
    DefaultShim(revision=RBAC, table="permissions", column="is_system_permission"),
    DefaultShim(revision=RBAC, table="roles", column="is_system_role"),
)

ONCE_UNIQUE: tuple[UniqueShim, ...] = (
    *(
        UniqueShim(revision=MULTI_TENANCY, table=table, column=column)
        for table, column in (
            ("aws_accounts", "account_id"),
            ("clusters", "cluster_id"),
            ("projects", "name"),
            ("projects", "slug"),
            ("teams", "name"),
            ("teams", "slug"),
            ("users", "email"),
            ("users", "github_id"),
            ("users", "github_username"),
        )
    ),
    UniqueShim(revision=RBAC, table="permissions", column="name"),
    UniqueShim(revision=RBAC, table="roles", column="name"),
)


def once_unique_at(revision: str) -> tuple[UniqueShim, ...]:
    """Return the indexes that stop being unique at ``revision``."""
    return tuple(shim for shim in ONCE_UNIQUE if shim.revision == revision)
