"""Owners, grants and comments: what two databases have unlike, and what makes one like the other.

The server writes each statement itself, with its own quoting. Objects of extensions, of our own
journal and archives, and what only one of the two has, are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from opssight_migrate.postgres import archive, journal
from opssight_migrate.postgres.session import Row, Session
from opssight_migrate.postgres.sql import SQL

OWNER, GRANT, COMMENT = "owner", "grant", "comment"
KINDS = (OWNER, GRANT, COMMENT)
"""In the order in which they can be changed."""

_NEWER_PRIVILEGES = (("MAINTAIN", 170000),)

_ROLES = """
SELECT array_agg(rolname::text) FROM pg_roles WHERE NOT starts_with(rolname, 'pg_')
"""
_IS_MEMBER = "SELECT pg_has_role(%s::name, 'MEMBER')"
# What can be owned and granted. A sequence follows the table whose column it is.
_OWNERS_AND_GRANTS = """
WITH o AS (SELECT o.*, pg_get_userbyid(owner) AS owner_name,
                  pg_has_role(owner, 'USAGE') AS may
             FROM (
  SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, n.nspname AS schema,
         format('%%I.%%I', n.nspname, c.relname) AS name, c.relowner AS owner,
         coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
                                       c.relowner)) AS acl,
         EXISTS (SELECT FROM pg_depend AS f WHERE f.classid = 'pg_class'::regclass
                    AND f.objid = c.oid AND f.deptype IN ('a', 'i') AND c.relkind = 'S') AS follows,
         'pg_class'::regclass AS class, c.oid
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL
  SELECT 'SCHEMA', nspname, quote_ident(nspname), nspowner,
         coalesce(nspacl, acldefault('n', nspowner)), false, 'pg_namespace'::regclass, oid
    FROM pg_namespace
  UNION ALL
  SELECT 'ROUTINE', n.nspname, format('%%I.%%I(%%s)', n.nspname, p.proname,
                                      pg_get_function_identity_arguments(p.oid)), p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner)), false, 'pg_proc'::regclass, p.oid
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
  UNION ALL
  SELECT 'TYPE', n.nspname, format('%%I.%%I', n.nspname, t.typname), t.typowner,
         coalesce(t.typacl, acldefault('T', t.typowner)), false, 'pg_type'::regclass, t.oid
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
   WHERE t.typtype IN ('d', 'e', 'r')
  UNION ALL
  SELECT 'LARGE OBJECT', 'public', oid::text, lomowner, coalesce(lomacl, acldefault('L', lomowner)),
         false, 'pg_largeobject'::regclass, oid
    FROM pg_largeobject_metadata
) AS o
            WHERE schema !~ '^(pg_|information_schema$|_?timescaledb)' AND schema <> %(journal)s
  AND NOT starts_with(schema, %(archives)s)
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                   WHERE d.classid = class AND d.objid = o.oid AND d.deptype = 'e')),
grants (kind, name, columns, acl, may, owner_name) AS (
  SELECT kind, name, '', acl, may, owner_name FROM o
  UNION ALL
  SELECT kind, name, format(' (%%I)', a.attname), a.attacl, may, owner_name
    FROM o JOIN pg_attribute AS a ON a.attrelid = o.oid AND class = 'pg_class'::regclass
   WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
)
SELECT 'owner', kind || ' ' || name, '', owner_name::text,
       format('ALTER %%s %%s OWNER TO %%I', kind, name, owner_name), NULL, may
  FROM o WHERE NOT follows
UNION ALL
SELECT 'grant', kind || ' ' || name,
       concat_ws(' ', g.privilege_type || columns, to_name, g.is_grantable), owner_name::text,
       format('GRANT %%s%%s ON %%s %%s TO %%s%%s', g.privilege_type, columns, kind, name, to_name,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END),
       format('REVOKE %%s%%s ON %%s %%s FROM %%s', g.privilege_type, columns, kind, name, to_name),
       may
  FROM grants
  LEFT JOIN LATERAL aclexplode(acl) AS g ON g.privilege_type <> ALL(%(unknown)s)
  CROSS JOIN LATERAL (SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC'
                             ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS to_name) AS w
"""
_GRANTS_TO_COME = """
SELECT 'grant', format('%%s%%s of %%I to come', t.what, n.place, r.rolname),
       concat_ws(' ', g.privilege_type, to_name, g.is_grantable), '',
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %%I%%s GRANT %%s ON %%s TO %%s%%s', r.rolname,
              n.place, g.privilege_type, t.what, to_name,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END),
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %%I%%s REVOKE %%s ON %%s FROM %%s', r.rolname,
              n.place, g.privilege_type, t.what, to_name),
       pg_has_role(r.oid, 'USAGE')
  FROM pg_roles AS r
  CROSS JOIN (VALUES ('r'::"char", 'TABLES'), ('S', 'SEQUENCES'), ('f', 'ROUTINES'),
                     ('T', 'TYPES'), ('n', 'SCHEMAS')) AS t (type, what)
  CROSS JOIN (SELECT 0::oid AS oid, '' AS place UNION ALL
              SELECT oid, ' IN SCHEMA ' || quote_ident(nspname) FROM pg_namespace
               WHERE nspname !~ '^pg_') AS n
  LEFT JOIN pg_default_acl AS d
         ON d.defaclrole = r.oid AND d.defaclobjtype = t.type AND d.defaclnamespace = n.oid
  LEFT JOIN LATERAL aclexplode(coalesce(d.defaclacl, CASE WHEN n.oid = 0 THEN
         acldefault(CASE t.type WHEN 'S' THEN 's' ELSE t.type END, r.oid) END)) AS g
         ON g.privilege_type <> ALL(%(unknown)s)
  CROSS JOIN LATERAL (SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC'
                             ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS to_name) AS w
 WHERE r.rolname = ANY(%(roles)s)
"""
# Everything that can carry a comment, so that what has none is told from what is not there.
_COMMENTS = """
WITH all_there (class, oid, part) AS (
  SELECT 'pg_class'::regclass, oid, 0 FROM pg_class
   WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I')
  UNION ALL SELECT 'pg_class'::regclass, a.attrelid, a.attnum
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT 'pg_constraint'::regclass, oid, 0 FROM pg_constraint
   WHERE conrelid <> 0 AND contype IN ('c', 'f', 'p', 'u', 'x')
  UNION ALL SELECT 'pg_trigger'::regclass, oid, 0 FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'pg_policy'::regclass, oid, 0 FROM pg_policy
  UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0 FROM pg_rewrite WHERE rulename <> '_RETURN'
  UNION ALL SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc
  UNION ALL SELECT 'pg_type'::regclass, oid, 0 FROM pg_type WHERE typtype IN ('d', 'e', 'r')
  UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0 FROM pg_statistic_ext
  UNION ALL SELECT 'pg_namespace'::regclass, oid, 0 FROM pg_namespace
  UNION ALL SELECT 'pg_extension'::regclass, oid, 0 FROM pg_extension
  UNION ALL SELECT 'pg_largeobject'::regclass, oid, 0 FROM pg_largeobject_metadata
)
SELECT 'comment', i.type || ' ' || i.identity, '', coalesce(d.description, ''),
       format('COMMENT ON %%s %%s IS %%L', CASE
                WHEN i.type ~ ' column$' THEN 'COLUMN'
                WHEN i.type = 'table constraint' THEN 'CONSTRAINT'
                WHEN i.type = 'statistics object' THEN 'STATISTICS'
                ELSE upper(i.type) END, i.identity, d.description), NULL, true
  FROM all_there AS o
  CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, o.part) AS i
  LEFT JOIN pg_description AS d
         ON d.classoid = o.class AND d.objoid = o.oid AND d.objsubid = o.part
  CROSS JOIN LATERAL (SELECT coalesce(i.schema, CASE WHEN i.type = 'schema' THEN i.name END,
                                      'public') AS schema) AS s
 WHERE (o.oid >= 16384 OR i.identity = 'public' OR i.type = 'large object') AND
   s.schema !~ '^(pg_|information_schema$|_?timescaledb)' AND s.schema <> %(journal)s
  AND NOT starts_with(s.schema, %(archives)s)
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                   WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One statement that makes a database more like the other; ``is_ours``: our role may say it."""

    kind: str
    what: str
    statement: str
    is_ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attribute:
    """``key`` tells it from others of one kind, ``value`` is what there is one of."""

    key: str
    value: str
    statement: str
    undoing: str


@dataclass(slots=True)
class _Object:
    is_ours: bool
    owner: str
    attributes: list[_Attribute]


def changes(live: Session, wanted: Session, kind: str) -> list[Change]:
    """Return what makes the owners, grants or comments of ``live`` those of ``wanted``.

    Roles go by their names, grants are taken back before others are given. Grants hang on owners,
    who have rights of their own: they are told only where the owner is the same.
    """
    here, there = _read(live, live, kind), _read(wanted, live, kind)
    undone: list[Change] = []
    given: list[Change] = []
    for what in sorted(here.keys() & there.keys()):
        ours, theirs = here[what], there[what]
        if kind == GRANT and ours.owner != theirs.owner:
            continue
        is_ours = ours.is_ours

        def change(
            one: _Attribute, statement: str, *, may: bool = is_ours, of: str = what
        ) -> Change:
            is_given = kind != OWNER or bool(live.scalar(_IS_MEMBER, (one.value,)))
            return Change(kind=kind, what=of, statement=statement, is_ours=may and is_given)

        known = {(one.key, one.value) for one in ours.attributes}
        asked = {(one.key, one.value) for one in theirs.attributes}
        for one in ours.attributes:
            if one.undoing and (one.key, one.value) not in asked:
                undone.append(change(one, one.undoing))
        for one in theirs.attributes:
            if (one.key, one.value) not in known:
                given.append(change(one, one.statement))
    return undone + given


def carry_out(session: Session, change: Change) -> None:
    """Say it to the server, in a savepoint where a transaction is open.

    Raises: PrivilegeError, StatementError and such.
    """
    with session.writing():
        # The server's own text, with its own quoting: not put together from anything of ours.
        session.execute(SQL(cast("Any", change.statement)))


def _read(session: Session, live: Session, kind: str) -> dict[str, _Object]:
    found: dict[str, _Object] = {}
    for _, what, key, value, statement, undoing, is_ours in _rows(session, live, kind):
        one = found.setdefault(what, _Object(bool(is_ours), value, []))
        if kind != GRANT or key:  # nobody may have been granted anything
            attribute = _Attribute(key=key, value=value, statement=statement, undoing=undoing or "")
            one.attributes.append(attribute)
    return found


def _rows(session: Session, live: Session, kind: str) -> list[Row]:
    known: dict[str, object] = {"journal": journal.SCHEMA, "archives": archive.PREFIX}
    if kind == COMMENT:
        return session.rows(_COMMENTS, known)
    newer = [name for name, since in _NEWER_PRIVILEGES if live.server_version < since]
    known |= {"roles": live.scalar(_ROLES), "unknown": newer}
    found = [row for row in session.rows(_OWNERS_AND_GRANTS, known) if row[0] == kind]
    return found + (session.rows(_GRANTS_TO_COME, known) if kind == GRANT else [])
