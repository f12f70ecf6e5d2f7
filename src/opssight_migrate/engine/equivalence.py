"""What else is as it was after a migration: everybody's permissions, and the tenants apart."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import orphans, reader, rights
from opssight_migrate.postgres.rights import Counted
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.tenancy import Tenancy


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Users by their permissions, and references that lead into another organization.

    None where the revision has no assignments yet, or no organizations.
    """

    users: Counted | None = None
    across: int | None = None

    @property
    def is_given(self) -> bool:
        """Whether nobody's permissions differ and no tenant reaches into another."""
        return not self.across and not (self.users and self.users.differing)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return it in words, for the closing sentence."""
        found: list[str] = []
        if users := self.users:
            found.append(f"{users.identical:,} users' permissions identical")
            if users.announced:
                found[-1] += f", {users.announced:,} given as announced"
            if users.unassigned:
                found[-1] += f", {users.unassigned:,} that came meanwhile not yet assigned"
            if users.differing:
                found[-1] += f", {users.differing:,} DIFFERENT"
        if self.across is not None:
            found.append(f"{self.across:,} cross-tenant references")
        return tuple(found)


def read(session: Session, current: str, actual: Catalogue) -> Equivalence:
    """Look at every user and every reference; call it within ``session.reading()``."""
    if not revisions.is_at_least(current, revisions.MULTI_TENANCY):
        return Equivalence()
    actual = reader.readable(session, actual)
    known = tuple(orphans.references(current, actual))
    tenancy = Tenancy(catalogue=actual, references=known)
    across = sum(
        one.rows for table in tenancy.tables() for one in tenancy.belonging(session, table).across
    )
    has_roles = revisions.is_at_least(current, revisions.RBAC)
    return Equivalence(users=rights.counted(session) if has_roles else None, across=across)
