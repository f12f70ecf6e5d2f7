"""What a run must be allowed to do: one list, each line with the GRANT that mends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.model.errors import PrivilegeError
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
_GIVES_CREATE = """
SELECT NOT rolsuper AND has_schema_privilege(oid, 'public', 'CREATE')
  FROM pg_roles WHERE rolname = %s
"""
# Alembic inserts the first stamp, updates it, and deletes it on the way down to nothing.
_MAY_NOT_STAMP = """
SELECT EXISTS (SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
                WHERE NOT has_table_privilege(c.oid, privilege)),
       pg_get_userbyid(c.relowner)::text
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = 'alembic_version'
"""
# Not to_regclass(): it fails where the schema may not be entered.
_OWNER_OF_USERS = """
SELECT pg_get_userbyid(relowner)::text FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relname = 'users'
"""
_ROW_SECURITY_ON_US = """
SELECT array_agg(c.relname::text ORDER BY c.relname)
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
   AND c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
"""
# What the verbs that only look, and pg_dump, read: OpsSight's own and the journal.
_CANNOT_READ = """
SELECT n.nspname::text, c.relkind = 'S', array_agg(c.relname::text ORDER BY c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'S')
   AND (n.nspname = 'opssight_migrate' OR n.nspname = 'public' AND (c.relname = ANY(%(tables)s)
        OR EXISTS (SELECT FROM pg_depend AS d JOIN pg_class AS t ON t.oid = d.refobjid
                    WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                      AND c.relkind = 'S' AND t.relname = ANY(%(tables)s))))
   AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                ELSE has_table_privilege(c.oid, 'SELECT') END
 GROUP BY 1, 2 ORDER BY 1, 2
"""
_CANNOT_ENTER = """
SELECT nspname::text FROM pg_namespace
 WHERE nspname IN ('opssight_migrate', 'public') AND NOT has_schema_privilege(oid, 'USAGE')
 ORDER BY 1
"""
_FURTHER = """
SELECT r.rolname::text, pg_get_userbyid(d.datdba)::text,
       pg_has_role('pg_monitor', 'USAGE'), r.rolsuper OR r.rolcreatedb,
       pg_has_role('pg_signal_backend', 'USAGE'), pg_has_role(d.datdba, 'USAGE')
  FROM pg_database AS d, pg_roles AS r
 WHERE d.datname = current_database() AND r.rolname = current_user
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """One thing that the role may not do: ``why`` we need it, ``grant`` what would allow it."""

    why: str
    grant: str
    where: str = ""


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
    owners: list[str] = []
    for owner, owned in session.rows(_OWNERS_WE_ARE_NOT, (list(tables),)):
        owners.append(owner)
        yield Lacking(
            why=f"only their owner {owner} may alter {', '.join(owned)}",
            grant=_text(session, "GRANT {} TO {}", owner, user),
            where=f"public.{owned[0]}",
        )
    # A member of their owner has what that owner may; but not what it may as a superuser.
    if not may_create and not any(session.scalar(_GIVES_CREATE, (one,)) for one in owners):
        yield Lacking(
            why="new tables need CREATE on schema public",
            grant=_text(session, "GRANT CREATE ON SCHEMA public TO {}", user),
            where="schema public",
        )
    lacks_stamp, stamp_owner = session.row(_MAY_NOT_STAMP) or (False, None)
    if lacks_stamp and stamp_owner not in owners:  # whose member may stamp anyhow
        yield Lacking(
            why="each revision is stamped in alembic_version",
            grant=_text(
                session,
                "GRANT SELECT, INSERT, UPDATE, DELETE ON public.alembic_version TO {}",
                user,
            ),
            where="public.alembic_version",
        )
    owner = session.scalar(_OWNER_OF_USERS)
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


def lacking_to_read(session: Session, tables: Sequence[str]) -> Iterable[Lacking]:
    """Return what this role lacks to look at ``tables`` and at the journal, as every verb does."""
    user = str(session.scalar("SELECT current_user::text"))
    for (schema,) in session.rows(_CANNOT_ENTER):
        yield Lacking(
            why=f"schema {schema} cannot be entered",
            grant=_text(session, "GRANT USAGE ON SCHEMA {} TO {}", schema, user),
            where=f"schema {schema}",
        )
    given = {"tables": [*tables, "alembic_version"]}
    for schema, are_sequences, names in session.rows(_CANNOT_READ, given):
        kind = "SEQUENCE" if are_sequences else "TABLE"
        listed = ", ".join(_text(session, "{}.{}", schema, name) for name in names)
        yield Lacking(
            why=f"{', '.join(names)} cannot be read",
            grant=f"GRANT SELECT ON {kind} {listed} TO {_text(session, '{}', user)}",
            where=f"{schema}.{names[0]}",
        )


def lacking_further(session: Session) -> Iterable[Lacking]:
    """Return what this role lacks for what a migration can do without."""
    user, owner, sees_all, may_create, may_signal, is_owner = session.rows(_FURTHER)[0]
    if not sees_all:
        yield Lacking(
            why="replicas, transactions of others and the load of the server's machine cannot be"
            " seen, so no run waits for them",
            grant=_text(session, "GRANT pg_monitor TO {}", user),
        )
    if not may_create:
        yield Lacking(
            why="backup create --prove, backup verify --restore and rollback --type data restore"
            " into a new database (CREATEDB)",
            grant=createdb(session),
        )
    if not is_owner:
        yield Lacking(
            why="rollback --type data renames the database, as only its owner may",
            grant=_text(session, "GRANT {} TO {}", owner, user),
        )
    if not may_signal:
        yield Lacking(
            why="--terminate and --terminate-idle-in-transaction end sessions of others",
            grant=_text(session, "GRANT pg_signal_backend TO {}", user),
        )


def createdb(session: Session) -> str:
    """Return the statement that lets this role make databases."""
    return _text(session, "ALTER ROLE {} CREATEDB", str(session.scalar("SELECT current_user")))


def refuse_blind(session: Session, tables: Sequence[str]) -> None:
    """Refuse to go on where what is to be looked at cannot be read.

    Raises: PrivilegeError, with every GRANT that is lacking.
    """
    with session.reading():
        found = list(lacking_to_read(session, tables))
    if found:
        raise PrivilegeError(
            "; ".join(one.why for one in found),
            where=found[0].where,
            hint=" ".join(f"{one.grant};" for one in found),
        )


def _text(session: Session, statement: str, *names: str) -> str:
    """Return a statement for a person to run; it is never executed here."""
    quoted = [sql.Identifier(name).as_string(session.connection) for name in names]
    return statement.format(*quoted)
