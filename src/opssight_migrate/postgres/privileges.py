"""What a run must be allowed to do: one list, each line with the GRANT that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.session import Session

_DATABASE = """
SELECT current_user::text, current_database()::text,
       has_database_privilege(current_database(), 'CREATE')
       OR coalesce((SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace
                     WHERE nspname = 'opssight_migrate'), false),
       has_schema_privilege('public', 'CREATE'),
       (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
"""
_MAY_MAKE_SCHEMAS = "SELECT has_database_privilege(current_database(), 'CREATE')"
_OWNERS_WE_ARE_NOT = """
SELECT pg_get_userbyid(c.relowner)::text, array_agg(c.relname::text ORDER BY c.relname)
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
   AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE')
 GROUP BY 1 ORDER BY 1
"""
_OWNER_MAY_CREATE = "SELECT has_schema_privilege(%s, 'public', 'CREATE')"
# Alembic inserts the first stamp, updates it, and deletes it on the way down to nothing.
_MAY_NOT_STAMP = """
SELECT EXISTS (SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
                WHERE NOT has_table_privilege(c.oid, privilege))
  FROM pg_class AS c WHERE c.oid = to_regclass('public.alembic_version')
"""
_ROW_SECURITY_ON_US = """
SELECT array_agg(c.relname::text ORDER BY c.relname)
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
   AND c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """One thing that the role may not do: ``why`` we need it, ``grant`` what would allow it."""

    why: str
    grant: str
    where: str


def lacking(
    session: Session, tables: Sequence[str], *, archives: bool = False
) -> Iterable[Lacking]:
    """Return what this role lacks to change ``tables``; nothing when it may do everything.

    With ``archives`` it has to make a schema for one, too.
    """
    user, database, may_make_journal, may_create, sees_all = session.rows(_DATABASE)[0]
    if archives and not session.scalar(_MAY_MAKE_SCHEMAS):
        yield Lacking(
            why="an archive needs a schema of its own (CREATE on the database)",
            grant=_text(session, "GRANT CREATE ON DATABASE {} TO {}", database, user),
            where=f"database {database}",
        )
    elif not may_make_journal:
        yield Lacking(
            why="the journal needs a schema of its own (CREATE on the database)",
            grant=_text(session, "GRANT CREATE ON DATABASE {} TO {}", database, user),
            where=f"database {database}",
        )
    if not may_create:
        yield Lacking(
            why="new tables need CREATE on schema public",
            grant=_text(session, "GRANT CREATE ON SCHEMA public TO {}", user),
            where="schema public",
        )
    for owner, owned in session.rows(_OWNERS_WE_ARE_NOT, (list(tables),)):
        yield Lacking(
            why=f"only their owner {owner} may alter {', '.join(owned)}",
            grant=_text(session, "GRANT {} TO {}", owner, user),
            where=f"public.{owned[0]}",
        )
    if session.scalar(_MAY_NOT_STAMP):
        yield Lacking(
            why="each revision is stamped in alembic_version",
            grant=_text(
                session,
                "GRANT SELECT, INSERT, UPDATE, DELETE ON public.alembic_version TO {}",
                user,
            ),
            where="public.alembic_version",
        )
    owner = catalog.owner_of(session, "users")
    if owner is not None and not session.scalar(_OWNER_MAY_CREATE, (owner,)):
        yield Lacking(
            why=f"{owner}, the owner of users, is to own the new tables too",
            grant=_text(session, "GRANT CREATE ON SCHEMA public TO {}", owner),
            where="schema public",
        )
    if not sees_all and (hidden := session.scalar(_ROW_SECURITY_ON_US, (list(tables),))):
        yield Lacking(
            why=f"row security would hide rows of {', '.join(hidden)}",
            grant=_text(session, "ALTER ROLE {} BYPASSRLS", user),
            where=f"public.{hidden[0]}",
        )


def _text(session: Session, statement: str, *names: str) -> str:
    """Return a statement for a person to run; it is never executed here."""
    quoted = [sql.Identifier(name).as_string(session.connection) for name in names]
    return statement.format(*quoted)
