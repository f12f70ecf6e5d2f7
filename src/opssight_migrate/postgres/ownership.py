"""New objects belong to the owner of ``public.users`` and carry the grants made there."""

from __future__ import annotations

from psycopg import sql

from opssight_migrate.postgres.session import Session

_MODEL_TABLE = "public.users"
_MODEL_SEQUENCE = "public.users_id_seq"

_OWNER = "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass(%s)"
# Grantee 0 is PUBLIC.
_GRANTS = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,
       a.privilege_type, a.is_grantable
  FROM pg_class AS c, aclexplode(c.relacl) AS a
 WHERE c.oid = to_regclass(%s) AND a.grantee <> c.relowner
 ORDER BY 1 NULLS FIRST, 2
"""
_SEQUENCES_OF = """
SELECT s.relname::text
  FROM pg_depend AS d
  JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
 WHERE d.refobjid = to_regclass(%s) AND d.classid = 'pg_class'::regclass
   AND d.deptype IN ('a', 'i')
"""
_CURRENT_USER = "SELECT current_user::text"
# Privileges by the names that aclexplode gives; none is ever text from outside.
_PRIVILEGES = {
    "SELECT": sql.SQL("SELECT"),
    "INSERT": sql.SQL("INSERT"),
    "UPDATE": sql.SQL("UPDATE"),
    "DELETE": sql.SQL("DELETE"),
    "TRUNCATE": sql.SQL("TRUNCATE"),
    "REFERENCES": sql.SQL("REFERENCES"),
    "TRIGGER": sql.SQL("TRIGGER"),
    "MAINTAIN": sql.SQL("MAINTAIN"),
    "USAGE": sql.SQL("USAGE"),
}


def adopt_table(session: Session, table: str) -> None:
    """Give a new table and its sequences the owner and the grants of ``public.users``.

    Does nothing before there is a ``public.users`` to learn from.
    """
    owner = session.scalar(_OWNER, (_MODEL_TABLE,))
    if owner is None or table == "users":
        return
    name = sql.Identifier("public", table)
    sequences = [
        sql.Identifier("public", sequence)
        for (sequence,) in session.rows(_SEQUENCES_OF, (f'public."{table}"',))
    ]
    if owner != session.scalar(_CURRENT_USER):
        session.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(name, sql.Identifier(owner)))
    for grant in session.rows(_GRANTS, (_MODEL_TABLE,)):
        _grant(session, sql.SQL("TABLE {}").format(name), *grant)
    for grant in session.rows(_GRANTS, (_MODEL_SEQUENCE,)):
        for sequence in sequences:
            _grant(session, sql.SQL("SEQUENCE {}").format(sequence), *grant)


def adopt_type(session: Session, name: str) -> None:
    """Give a new enum type the owner of ``public.users``."""
    owner = session.scalar(_OWNER, (_MODEL_TABLE,))
    if owner is not None and owner != session.scalar(_CURRENT_USER):
        session.execute(
            sql.SQL("ALTER TYPE {} OWNER TO {}").format(
                sql.Identifier("public", name), sql.Identifier(owner)
            )
        )


def _grant(
    session: Session, target: sql.Composed, grantee: str | None, privilege: str, grantable: bool
) -> None:
    session.execute(
        sql.SQL("GRANT {} ON {} TO {}{}").format(
            _PRIVILEGES[privilege],
            target,
            sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
            sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
    )
