"""Every user with a role has exactly that role in ``user_roles``, in the user's organization."""

from __future__ import annotations

from collections.abc import Iterable

from opssight_migrate.model.plan import Blocker, Estimate, Finding, Severity, Undo
from opssight_migrate.opssight import rates, rbac, revisions
from opssight_migrate.postgres import catalog, sql
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import BatchedStep, StepContext, Walk

_USERS_BY_ROLE = """
SELECT count(*), count(*) FILTER (WHERE role_id IS NULL AND is_superuser),
       count(*) FILTER (WHERE role_id IS NULL AND NOT is_superuser)
  FROM users
"""
# A role of the whole installation: one that belongs to an organization is not for the others.
# Through jsonb the question can be asked before there is an organization_id, too.
_SYSTEM_ROLE = """
SELECT min(id) FROM roles AS r
 WHERE name::text = %s AND to_jsonb(r) ->> 'organization_id' IS NULL
"""
_NOTHING_OF_RBAC = """
SELECT NOT EXISTS (SELECT FROM roles) AND NOT EXISTS (SELECT FROM permissions)
   AND NOT EXISTS (SELECT FROM role_permissions)
"""
_SEED_ROLE = """
INSERT INTO roles
    (name, display_name, description, is_active, is_default, priority, is_system_role)
VALUES (%(label)s::systemrole, %(display)s, %(description)s, true, %(is_default)s, %(priority)s,
        true)
"""
_SEED_PERMISSION = """
INSERT INTO permissions
    (name, display_name, description, category, is_active, is_system_permission)
VALUES (%(label)s::permissiontype, %(display)s, %(description)s, %(category)s, true, true)
"""
_SEED_GRANTS = """
INSERT INTO role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM roles AS r, permissions AS p
 WHERE r.name::text = %(role)s AND p.name::text = ANY(%(permissions)s)
"""
# The role a user should have: role_id; else SUPER_ADMIN for a superuser; else the default.
_WANTED = """
           u.organization_id, u.is_active, u.role_id AS own,
           coalesce(u.role_id, CASE WHEN u.is_superuser THEN %(super)s::int
                                    ELSE %(default)s::int END) AS role_id,
           CASE WHEN u.role_id IS NOT NULL THEN 'from users.role_id'
                WHEN u.is_superuser THEN 'superuser without a role'
                ELSE 'rbac.default_role' END AS origin
      FROM users AS u
"""
# No statistics tell of a table that this fills, so nothing is joined with it: each row is looked
# up by key, and a batch costs the same at the end as at the beginning. The + 0 keeps the planner
# from the index over organizations, in which all rows may be one entry.
_NEXT_USERS = """
WITH batch AS (
    SELECT u.id,
           (SELECT r.id FROM user_roles AS r
             WHERE r.user_id = u.id AND r.organization_id + 0 = u.organization_id) AS assignment,
           (SELECT r.role_id FROM user_roles AS r
             WHERE r.user_id = u.id AND r.organization_id + 0 = u.organization_id) AS assigned,
"""
_NEXT = """
     WHERE u.id > coalesce(%(after)s::bigint, -9223372036854775808)
     ORDER BY u.id
     LIMIT %(limit)s
"""
_LATE_USERS = """
WITH batch AS (
    SELECT u.id, l.id AS assignment, l.role_id AS assigned,
"""
_LATE = """
      LEFT JOIN user_roles AS l ON l.user_id = u.id AND l.organization_id = u.organization_id
     WHERE l.id IS NULL OR l.role_id <> u.role_id
"""
# An assignment that is there is changed only where role_id says so, and never made active again.
# The users are not locked: who is given another role meanwhile is caught up with at the end.
_ASSIGN = """
), changed AS (
    UPDATE user_roles AS r
       SET role_id = u.role_id, updated_at = now(), notes = 'opssight-migrate: from users.role_id'
      FROM users AS u
     WHERE r.id = ANY(ARRAY(SELECT assignment FROM batch WHERE assigned <> own))
       AND u.id = r.user_id AND u.role_id IS NOT NULL
 RETURNING r.id
), added AS (
    INSERT INTO user_roles (user_id, role_id, organization_id, is_active, notes)
    SELECT b.id, b.role_id, b.organization_id, b.is_active, 'opssight-migrate: ' || b.origin
      FROM batch AS b
     WHERE b.assignment IS NULL AND b.role_id IS NOT NULL
     ORDER BY b.id
        ON CONFLICT (user_id, organization_id) DO NOTHING
 RETURNING id
)
SELECT (SELECT max(id)::text FROM batch) AS last_key,
       (SELECT count(*) FROM changed) + (SELECT count(*) FROM added) AS rows
"""
_ASSIGN_BATCH = _NEXT_USERS + _WANTED + _NEXT + _ASSIGN
_CATCH_UP = _LATE_USERS + _WANTED + _LATE + _ASSIGN
_UNASSIGNED = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5]
  FROM users AS u
  LEFT JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE r.id IS NULL
   AND (u.role_id IS NOT NULL OR u.is_superuser OR %(default)s::int IS NOT NULL)
"""
_ASSIGNED_OTHERWISE = """
SELECT count(*), (array_agg(u.id::text ORDER BY u.id))[1:5]
  FROM users AS u
  JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
 WHERE r.role_id <> u.role_id
"""
_SUPER = "SUPER_ADMIN"
# ADMIN is a label of the database that the models grant nothing, so it is never seeded.
_SEEDED = tuple(label for label in rbac.DATABASE_ROLES if label in rbac.MATRIX)


class AssignRoles(BatchedStep):
    """Copy ``users.role_id`` into ``user_roles``; seed roles only where there is none at all."""

    id = "assign-roles"
    title = "Assign every user a role in the organization"
    needs = revisions.RBAC
    audit = Audit(operation="PERMISSION_CHANGE", severity="HIGH", table="user_roles")
    undo_kind = Undo.ARCHIVE

    def preconditions(self, ctx: StepContext) -> Iterable[Blocker]:
        """The roles that users without one would get must exist."""
        _, superusers, others = self._without_role(ctx.session)
        seeded = _SEEDED if ctx.session.scalar(_NOTHING_OF_RBAC) else ()
        default = ctx.profile.rbac.default_role
        wanted = [(_SUPER, superusers)] + ([(default, others)] if default != "none" else [])
        for label, users in wanted:
            if users and label not in seeded and ctx.session.scalar(_SYSTEM_ROLE, (label,)) is None:
                yield Blocker(
                    message=f"{users:,} users without a role would get {label},"
                    " and there is no such role",
                    where="roles",
                    hint="create the role, or set rbac.default_role to one that exists",
                )

    def estimate(self, ctx: StepContext) -> Estimate:
        """One row a user, and what it announces: who gets a role that they did not have."""
        users, superusers, others = self._without_role(ctx.session)
        notes: list[str] = []
        default = ctx.profile.rbac.default_role
        if ctx.session.scalar(_NOTHING_OF_RBAC):
            notes.append("there are no roles and permissions at all: they are seeded")
        if superusers:
            notes.append(f"{superusers:,} superusers have no role and get {_SUPER}")
        if others and default == "none":
            notes.append(f"{others:,} users have no role and get none (rbac.default_role)")
        elif others:
            notes.append(f"{others:,} users have no role and get {default} (rbac.default_role)")
        if catalog.relation_exists(ctx.session, "user_roles"):
            moved, _ = self._assigned_otherwise(ctx.session)
            if moved:
                notes.append(f"{moved:,} users have another role in user_roles: role_id wins")
        rows = users if default != "none" else users - others
        return Estimate(
            rows=rows,
            notes=tuple(notes),
            reference_s=round(users / rates.ASSIGNED_ROWS_PER_S, 3),
            wal_bytes=rows * rates.ASSIGNED_ROW_WAL_BYTES,
        )

    def prepare(self, ctx: StepContext) -> None:
        """Seed roles, permissions and grants where all three tables are empty."""
        with ctx.session.writing():
            if ctx.session.scalar(_NOTHING_OF_RBAC):
                _seed(ctx.session)

    def walks(self, ctx: StepContext) -> Iterable[Walk]:
        """One walk over the users."""
        yield Walk(
            table="users", batch_sql=sql.SQL(_ASSIGN_BATCH), parameters=self._parameters(ctx)
        )

    def catch_up(self, ctx: StepContext) -> int:
        """Assign who signed up or was given another role behind the walk."""
        _, rows = ctx.session.rows(_CATCH_UP, self._parameters(ctx))[0]
        return int(rows)

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """Nobody who should have an assignment lacks it, and none differs from role_id."""
        rows, keys = ctx.session.rows(_UNASSIGNED, {"default": self._default(ctx)})[0]
        if rows:
            yield self._finding("users without an assignment in user_roles", rows, keys)
        rows, keys = self._assigned_otherwise(ctx.session)
        if rows:
            yield self._finding("users whose assignment differs from users.role_id", rows, keys)

    def _finding(self, message: str, rows: int, keys: Iterable[str]) -> Finding:
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL,
            message=message,
            where="users",
            rows=rows,
            keys=tuple(keys),
            hint="opssight-migrate migrate",
        )

    def _parameters(self, ctx: StepContext) -> dict[str, int | None]:
        super_admin = ctx.session.scalar(_SYSTEM_ROLE, (_SUPER,))
        return {"super": super_admin, "default": self._default(ctx)}

    def _default(self, ctx: StepContext) -> int | None:
        label = ctx.profile.rbac.default_role
        return None if label == "none" else ctx.session.scalar(_SYSTEM_ROLE, (label,))

    def _without_role(self, session: Session) -> tuple[int, int, int]:
        users, superusers, others = session.rows(_USERS_BY_ROLE)[0]
        return int(users), int(superusers), int(others)

    def _assigned_otherwise(self, session: Session) -> tuple[int, list[str]]:
        rows, keys = session.rows(_ASSIGNED_OTHERWISE)[0]
        return int(rows), list(keys or ())


def _seed(session: Session) -> None:
    for label in _SEEDED:
        session.execute(
            _SEED_ROLE,
            {
                "label": label,
                "display": rbac.display_name(label),
                "description": f"{rbac.display_name(label)} role",
                "is_default": label == "VIEWER",
                "priority": rbac.priority(label),
            },
        )
    for category, permissions in rbac.CATEGORIES.items():
        for label in permissions:
            if label in rbac.DATABASE_PERMISSIONS:
                session.execute(
                    _SEED_PERMISSION,
                    {
                        "label": label,
                        "display": rbac.display_name(label),
                        "description": rbac.description(label),
                        "category": category,
                    },
                )
    for label in _SEEDED:
        session.execute(
            _SEED_GRANTS,
            {"role": label, "permissions": list(rbac.grants_in_database(label))},
        )
