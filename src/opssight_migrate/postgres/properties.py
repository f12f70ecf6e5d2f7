"""What belongs to a database itself and stands in no dump: owner, locale, grants, settings."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.postgres.session import Session

_ROW = """
SELECT pg_get_userbyid(datdba)::text, pg_encoding_to_char(encoding)::text, datcollate::text,
       datctype::text, datacl IS NOT NULL, shobj_description(oid, 'pg_database'), datconnlimit,
       (SELECT spcname::text FROM pg_tablespace AS s WHERE s.oid = dattablespace)
  FROM pg_database WHERE datname = current_database()
"""
_IS_USABLE = """
SELECT has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace WHERE spcname = %s
"""
# What the columns are called depends on the server: 15, then 17.
_PROVIDER = """
SELECT coalesce(to_jsonb(d)->>'datlocprovider', 'c'),
       coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale')
  FROM pg_database AS d WHERE datname = current_database()
"""
_GRANTS = """
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee)::text END,
       a.privilege_type::text, a.is_grantable
  FROM pg_database AS d, aclexplode(d.datacl) AS a
 WHERE d.datname = current_database()
 ORDER BY 1 NULLS FIRST, 2
"""
_SETTINGS = """
SELECT CASE WHEN s.setrole = 0 THEN NULL ELSE pg_get_userbyid(s.setrole)::text END,
       split_part(one, '=', 1), substr(one, strpos(one, '=') + 1)
  FROM pg_db_role_setting AS s, unnest(s.setconfig) AS one
 WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY 1 NULLS FIRST, 2
"""
DEFAULT_TABLESPACE = "pg_default"
_PROVIDERS = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseProperties:
    """All that CREATE DATABASE and ALTER DATABASE say of one database.

    ``grants`` is None while nobody granted or revoked anything; a grantee of None is PUBLIC, and
    a setting's role of None is everybody.
    """

    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    comment: str | None
    connection_limit: int
    grants: tuple[tuple[str | None, str, bool], ...] | None
    settings: tuple[tuple[str | None, str, str], ...]
    tablespace: str = DEFAULT_TABLESPACE


def read_properties(session: Session) -> DatabaseProperties:
    """Return the properties of the session's own database."""
    owner, encoding, collate, ctype, has_grants, comment, limit, place = session.rows(_ROW)[0]
    provider, locale = session.rows(_PROVIDER)[0]
    grants = tuple((who, what, bool(may)) for who, what, may in session.rows(_GRANTS))
    return DatabaseProperties(
        owner=owner,
        encoding=encoding,
        collate=collate,
        ctype=ctype,
        provider=provider,
        locale=locale,
        comment=comment,
        connection_limit=int(limit),
        grants=grants if has_grants else None,
        settings=tuple((role, name, value) for role, name, value in session.rows(_SETTINGS)),
        tablespace=place,
    )


def create(session: Session, name: str, like: DatabaseProperties, *, owner: str | None) -> None:
    """Make an empty database that sorts and encodes like another; ``owner`` None is our role.

    It lies in the same tablespace, where there is one of that name and our role may use it.
    """
    parts: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)),
        sql.SQL("ENCODING {}").format(sql.Literal(like.encoding)),
        sql.SQL("LC_COLLATE {}").format(sql.Literal(like.collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(like.ctype)),
    ]
    if like.provider in _PROVIDERS and like.locale:
        provider, key = _PROVIDERS[like.provider]
        parts.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(provider)))
        keyword = sql.SQL("ICU_LOCALE") if key == "ICU_LOCALE" else sql.SQL("BUILTIN_LOCALE")
        parts.append(sql.SQL("{} {}").format(keyword, sql.Literal(like.locale)))
    elif session.server_version >= _FIRST_WITH_PROVIDERS:
        parts.append(sql.SQL("LOCALE_PROVIDER libc"))
    if owner is not None:
        parts.append(sql.SQL("OWNER {}").format(sql.Identifier(owner)))
    # The default one is not named: who names it needs a right to it.
    place = like.tablespace
    if place != DEFAULT_TABLESPACE and session.scalar(_IS_USABLE, (place,)):
        parts.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(place)))
    session.execute(sql.SQL(" ").join(parts))


def apply(session: Session, name: str, properties: DatabaseProperties) -> None:
    """Give the database ``name`` the grants, settings, comment and connection limit of another."""
    database = sql.Identifier(name)
    with session.writing():
        if properties.grants is not None:
            session.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(
                    database, sql.Identifier(properties.owner)
                )
            )
        for grantee, privilege, may_grant in properties.grants or ():
            session.execute(_grant(database, grantee, privilege, may_grant=may_grant))
        for role, setting, value in properties.settings:
            # FROM CURRENT, since a list such as search_path cannot be written as one literal.
            session.execute("SELECT set_config(%s, %s, true)", (setting, value))
            session.execute(_setting(database, role, setting))
        session.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                database, sql.Literal(properties.comment)
            )
        )
        session.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
                database, sql.Literal(properties.connection_limit)
            )
        )


_FIRST_WITH_PROVIDERS = 150000
_PRIVILEGES = {
    "CREATE": sql.SQL("CREATE"),
    "CONNECT": sql.SQL("CONNECT"),
    "TEMPORARY": sql.SQL("TEMPORARY"),
}


def _grant(
    database: sql.Identifier, grantee: str | None, privilege: str, *, may_grant: bool
) -> sql.Composed:
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
        _PRIVILEGES[privilege],
        database,
        sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee),
        sql.SQL(" WITH GRANT OPTION") if may_grant else sql.SQL(""),
    )


def _setting(database: sql.Identifier, role: str | None, setting: str) -> sql.Composed:
    name = sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))
    if role is None:
        return sql.SQL("ALTER DATABASE {} SET {} FROM CURRENT").format(database, name)
    return sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} FROM CURRENT").format(
        sql.Identifier(role), database, name
    )
