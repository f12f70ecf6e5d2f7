"""What each user may do by ``users.role_id``, and by the assignment that replaces it."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.postgres.session import Session

# Roles are few and users many: users are counted by the pair of their roles, and only the
# permissions of each pair are compared.
_CHANGED = """
WITH pairs AS (
    SELECT u.role_id AS old, r.role_id AS new, count(*) AS users,
           (array_agg(u.id::text ORDER BY u.id))[1:5] AS keys
      FROM users AS u
      JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
     WHERE u.role_id IS NOT NULL
     GROUP BY 1, 2
), granted AS (
    SELECT g.role_id, p.name::text AS permission
      FROM role_permissions AS g
      JOIN roles AS r ON r.id = g.role_id AND r.is_active
      JOIN permissions AS p ON p.id = g.permission_id AND p.is_active
)
SELECT users, keys,
       ARRAY(SELECT permission FROM granted WHERE role_id = new
             EXCEPT SELECT permission FROM granted WHERE role_id = old ORDER BY 1),
       ARRAY(SELECT permission FROM granted WHERE role_id = old
             EXCEPT SELECT permission FROM granted WHERE role_id = new ORDER BY 1)
  FROM pairs
 WHERE old <> new
"""
# Those without a role are given what the configuration says; what we gave carries our note.
_UNANNOUNCED = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5], array_agg(DISTINCT o.name::text)
  FROM users AS u
  JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
  JOIN roles AS o ON o.id = r.role_id
 WHERE u.role_id IS NULL AND r.notes LIKE 'opssight-migrate: %%'
   AND o.name::text <> CASE WHEN r.notes LIKE '%%superuser%%'
                            THEN 'SUPER_ADMIN' ELSE %s END
"""
# Who has a role and no assignment at home came after the assignments were made, or lost it.
_COUNTED = """
SELECT count(*),
       count(*) FILTER (WHERE u.role_id IS NULL AND r.notes LIKE 'opssight-migrate: %%'),
       count(*) FILTER (WHERE u.role_id IS NOT NULL AND r.id IS NULL)
  FROM users AS u
  LEFT JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Users who may do something else now than by their old role."""

    users: int
    keys: tuple[str, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Users by what became of their permissions; ``announced`` had none and got the configured.

    ``unassigned`` have a role and no assignment yet.
    """

    identical: int
    announced: int
    unassigned: int
    differing: int


def counted(session: Session) -> Counted:
    """Count the users whose permissions are what they were, and those of whom that is not so."""
    users, announced, unassigned = session.rows(_COUNTED, ())[0]
    differing = sum(change.users for change in changes(session))
    return Counted(
        identical=users - announced - unassigned - differing,
        announced=announced,
        unassigned=unassigned,
        differing=differing,
    )


def changes(session: Session) -> list[Change]:
    """Return who gained or lost a permission; users whose permissions are equal are not named."""
    return [
        Change(users=users, keys=tuple(keys), gained=tuple(gained), lost=tuple(lost))
        for users, keys, gained, lost in session.rows(_CHANGED)
        if gained or lost
    ]


def unannounced(session: Session, default_role: str) -> tuple[int, tuple[str, ...], list[str]]:
    """Count the users without a role whom we gave another one than the configured."""
    users, keys, labels = session.rows(_UNANNOUNCED, (default_role,))[0]
    return int(users), tuple(keys or ()), list(labels or ())
