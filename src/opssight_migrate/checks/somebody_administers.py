"""At least one active user may administer the installation."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions

_ADMINISTRATORS = """
SELECT EXISTS (SELECT FROM users),
       EXISTS (
       SELECT FROM users AS u
        WHERE u.is_active
          AND (u.is_superuser
               OR EXISTS (SELECT FROM user_roles AS a
                            JOIN roles AS r ON r.id = a.role_id
                           WHERE a.user_id = u.id AND a.is_active AND r.is_active
                             AND r.name::text = 'SUPER_ADMIN'
                             AND (a.expires_at IS NULL
                                  OR a.expires_at > now() AT TIME ZONE 'UTC'))))
"""


class SomebodyAdministers(Check):
    """Else the platform has locked everybody out of itself."""

    id = "somebody-administers"
    title = "An active user is superuser or SUPER_ADMIN"
    category = "rbac"
    needs = revisions.RBAC

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Look for one; an installation without any user has none to miss."""
        used, administered = ctx.session.rows(_ADMINISTRATORS)[0]
        if used and not administered:
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message="no active user is a superuser or has the role SUPER_ADMIN",
                where="users",
                hint="UPDATE users SET is_superuser = true WHERE id = <yours>;",
            )
