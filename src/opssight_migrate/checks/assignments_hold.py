"""Each active user has one assignment in each organization, and one at home that holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions

_TWICE = """
SELECT count(*), (array_agg(d.user_id::text ORDER BY d.user_id))[1:5]
  FROM (SELECT user_id FROM user_roles
         GROUP BY user_id, organization_id HAVING count(*) > 1) AS d
"""
# expires_at is naive and meant as UTC; a user whose assignment is missing is told elsewhere.
_NOT_HOLDING = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5]
  FROM users AS u
  JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE u.is_active
   AND NOT EXISTS (SELECT FROM user_roles AS o
                    WHERE o.user_id = u.id AND o.is_active
                      AND (o.expires_at IS NULL OR o.expires_at > now() AT TIME ZONE 'UTC'))
"""
# Beside one that holds, a lapsed assignment elsewhere is somebody's decision.
_LAPSED = """
SELECT count(*), (array_agg(r.user_id::text ORDER BY r.user_id))[1:5]
  FROM user_roles AS r
  JOIN users AS u ON u.id = r.user_id AND u.is_active
 WHERE NOT (r.is_active AND (r.expires_at IS NULL OR r.expires_at > now() AT TIME ZONE 'UTC'))
   AND EXISTS (SELECT FROM user_roles AS o
                WHERE o.user_id = u.id AND o.is_active
                  AND (o.expires_at IS NULL OR o.expires_at > now() AT TIME ZONE 'UTC'))
"""
_QUESTIONS: tuple[tuple[LiteralString, str, Severity, str | None], ...] = (
    (
        _TWICE,
        "users have more than one assignment in an organization",
        Severity.FAIL,
        "delete all but one: SELECT * FROM user_roles WHERE user_id = <id>;",
    ),
    (
        _NOT_HOLDING,
        "active users have only assignments that are inactive or expired",
        Severity.FAIL,
        "renew one: UPDATE user_roles SET is_active = true, expires_at = NULL WHERE id = <id>;",
    ),
    (
        _LAPSED,
        "assignments of active users are inactive or expired, beside one that holds",
        Severity.NOTE,
        None,
    ),
)


class AssignmentsHold(Check):
    """Permission checks of the new release read ``user_roles``: nobody may fall out of it."""

    id = "assignments-hold"
    title = "Active users have one assignment that is active and not expired"
    category = "rbac"
    needs = revisions.RBAC

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Count doubles, users whose assignments have all lapsed, and the other lapsed ones."""
        for query, message, severity, hint in _QUESTIONS:
            rows, keys = ctx.session.rows(query)[0]
            if rows:
                yield Finding(
                    check_id=self.id,
                    severity=severity,
                    message=message,
                    where="user_roles",
                    rows=int(rows),
                    keys=tuple(keys),
                    hint=hint,
                )
