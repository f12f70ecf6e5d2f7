"""Every user with a role has exactly that role assigned in the user's organization."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions

_MISMATCHED = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5]
  FROM users AS u
  LEFT JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE u.role_id IS NOT NULL AND (r.id IS NULL OR r.role_id <> u.role_id)
"""
_UNASSIGNED = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5]
  FROM users AS u
 WHERE u.role_id IS NULL AND NOT EXISTS (SELECT FROM user_roles AS r WHERE r.user_id = u.id)
"""


class RolesMatchAssignments(Check):
    """``users.role_id`` and ``user_roles`` say the same; nobody is without any assignment."""

    id = "roles-match-assignments"
    title = "Users have the role in user_roles that users.role_id names"
    category = "rbac"
    needs = revisions.RBAC

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Compare both tables."""
        rows, keys = ctx.session.rows(_MISMATCHED)[0]
        if rows:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message="users without the assignment that role_id names",
                where="user_roles",
                rows=int(rows),
                keys=tuple(keys),
                hint="opssight-migrate migrate",
            )
        rows, keys = ctx.session.rows(_UNASSIGNED)[0]
        if rows:
            yield Finding(
                check_id=self.id,
                severity=Severity.NOTE,
                message="users without any role (rbac.default_role is none, or they are new)",
                where="users",
                rows=int(rows),
                keys=tuple(keys),
            )
