"""What somebody added or switched off that changes what the tables of OpsSight mean or do."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.postgres.session import Session

# Each answers (what it is called, where, what it does).
_ALTERING = r"""
WITH ours AS (
    SELECT c.oid, c.relname, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity
      FROM pg_class AS c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%(tables)s)
       AND c.relkind IN ('r', 'p')
)
SELECT 'rule ' || quote_ident(r.rulename), o.relname || '.' || r.rulename,
       'rewrites what is sent to ' || o.relname
  FROM ours AS o JOIN pg_rewrite AS r ON r.ev_class = o.oid
 WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D'
UNION ALL
SELECT 'row security', o.relname, 'hides rows of ' || o.relname || ' from other roles'
  FROM ours AS o WHERE o.relrowsecurity OR o.relforcerowsecurity
UNION ALL
SELECT 'table ' || o.relname, o.relname, 'is unlogged: a crash of the server empties it'
  FROM ours AS o WHERE o.relpersistence = 'u'
UNION ALL
SELECT 'unique index ' || quote_ident(i.relname), o.relname || '.' || i.relname,
       'refuses rows that OpsSight allows'
  FROM ours AS o
  JOIN pg_index AS x ON x.indrelid = o.oid AND x.indisunique
  JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE o.relname || '.' || i.relname <> ALL(%(indexes)s)
   -- One that holds the whole primary key refuses nothing that the key would let in.
   AND NOT EXISTS (SELECT FROM pg_index AS p
                    WHERE p.indrelid = o.oid AND p.indisprimary
                      AND string_to_array(p.indkey::text, ' ')
                          <@ string_to_array(x.indkey::text, ' '))
UNION ALL
SELECT CASE k.contype WHEN 'c' THEN 'check' ELSE 'exclusion' END || ' constraint '
       || quote_ident(k.conname), o.relname || '.' || k.conname,
       'refuses rows that OpsSight allows'
  FROM ours AS o JOIN pg_constraint AS k ON k.conrelid = o.oid AND k.contype IN ('c', 'x')
 -- OpsSight has none of its own; that a column is filled is no news where it has to be.
 WHERE pg_get_constraintdef(k.oid) !~ '^CHECK \(\(\w+ IS NOT NULL\)\)'
   -- Over columns that are not OpsSight's alone it is the business of whoever added them.
   AND (cardinality(k.conkey) IS DISTINCT FROM
        (SELECT count(*) FROM pg_attribute AS a
          WHERE a.attrelid = o.oid AND a.attnum = ANY(k.conkey)
            AND o.relname || '.' || a.attname <> ALL(%(columns)s))
        OR cardinality(k.conkey) = 0)
UNION ALL
SELECT 'column ' || quote_ident(a.attname), o.relname || '.' || a.attname,
       'is NOT NULL without a default, so that no row of OpsSight''s fits in'
  FROM ours AS o
  JOIN pg_attribute AS a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
   AND o.relname || '.' || a.attname <> ALL(%(columns)s)
 ORDER BY 2, 1
"""
_OWNERSHIP = """
WITH model AS (
    SELECT c.relowner, c.relacl FROM pg_class AS c WHERE c.oid = to_regclass('public.users')
), model_sequence AS (
    SELECT c.relacl FROM pg_class AS c WHERE c.oid = to_regclass('public.users_id_seq')
), made AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl
      FROM pg_class AS c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%(relations)s)
)
SELECT m.relname::text, 'owner is ' || pg_get_userbyid(m.relowner)
       || ', that of users is ' || pg_get_userbyid(model.relowner),
       format('ALTER TABLE public.%%I OWNER TO %%I;', m.relname, pg_get_userbyid(model.relowner))
  FROM made AS m, model
 WHERE m.relowner <> model.relowner
UNION ALL
SELECT m.relname::text, w.grantee || ' lacks ' || w.privilege_type || ', which it has on users',
       format('GRANT %%s ON %%s public.%%I TO %%s;', w.privilege_type,
              CASE m.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, m.relname, w.quoted)
  FROM made AS m
 CROSS JOIN LATERAL (
       SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END
                  AS grantee,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee))
               END AS quoted,
              g.privilege_type
         FROM model, model_sequence,
              aclexplode(CASE m.relkind WHEN 'S' THEN model_sequence.relacl ELSE model.relacl END)
                  AS g
        WHERE g.grantee <> model.relowner
          AND NOT EXISTS (SELECT FROM aclexplode(m.relacl) AS h
                           WHERE h.grantee = g.grantee AND h.privilege_type = g.privilege_type)
       ) AS w
 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Altering:
    """Something beside our objects that changes what they do."""

    what: str
    where: str
    does: str


def altering(
    session: Session, tables: list[str], indexes: list[str], columns: list[str]
) -> list[Altering]:
    """Return rules, row security and the like on ``tables``; our own indexes and columns excepted.

    ``indexes`` and ``columns`` are written as ``table.name``.
    """
    names = {"tables": tables, "indexes": indexes, "columns": columns}
    return [
        Altering(what=what, where=where, does=does)
        for what, where, does in session.rows(_ALTERING, names)
    ]


def other_ownership(session: Session, relations: list[str]) -> list[tuple[str, str, str]]:
    """Return relation, difference and SQL for each that is not owned or granted as users is."""
    return [
        (relation, what, mending)
        for relation, what, mending in session.rows(_OWNERSHIP, {"relations": relations})
    ]
