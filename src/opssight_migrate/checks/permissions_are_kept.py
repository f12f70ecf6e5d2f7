"""Nobody may do more or less by the assignment than by the role that it was made from."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import rights


class PermissionsAreKept(Check):
    """Both ways to a permission, side by side in one snapshot; what was announced is excepted."""

    id = "permissions-are-kept"
    title = "Users may do what their role allowed before"
    category = "rbac"
    needs = revisions.RBAC

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Name who gained or lost what."""
        for change in rights.changes(ctx.session):
            told = [
                f"{word} {', '.join(labels)}"
                for word, labels in (("gained", change.gained), ("lost", change.lost))
                if labels
            ]
            yield self._finding(f"users {' and '.join(told)}", change.users, change.keys)
        default = ctx.default_role
        users, keys, labels = rights.unannounced(ctx.session, default)
        if users:
            message = f"users without a role were given {', '.join(labels)}"
            yield self._finding(f"{message}, and rbac.default_role is {default}", users, keys)

    def _finding(self, message: str, users: int, keys: tuple[str, ...]) -> Finding:
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL,
            message=message,
            where="user_roles",
            rows=users,
            keys=keys,
            hint="opssight-migrate migrate",
        )
