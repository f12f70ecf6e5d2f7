"""What TimescaleDB refuses in a table that is to become a hypertable, each with what is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from opssight_migrate.postgres.session import Session

# Each was tried: these are refused by create_hypertable, or cannot follow a table into a chunk.
_UNIQUE = """
SELECT 'unique index ' || i.relname,
       CASE WHEN k.conname IS NULL THEN format('DROP INDEX public.%%I', i.relname)
            ELSE format('ALTER TABLE public.%%I DROP CONSTRAINT %%I', %(table)s::text, k.conname)
        END
  FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
  LEFT JOIN pg_constraint AS k ON k.conindid = x.indexrelid AND k.contype IN ('u', 'x')
 WHERE x.indrelid = to_regclass('public.' || quote_ident(%(table)s)) AND NOT x.indisprimary
   AND (x.indisunique OR x.indisexclusion)
   AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = x.indrelid
                      AND a.attname = %(time)s AND a.attnum = ANY(x.indkey))
"""
_REFERENCES = """
SELECT CASE WHEN k.conrelid = k.confrelid THEN 'foreign key to itself ' ELSE 'foreign key ' END
       || k.conname || ' of ' || k.conrelid::regclass,
       format('ALTER TABLE %%s DROP CONSTRAINT %%I', k.conrelid::regclass, k.conname)
  FROM pg_constraint AS k
 WHERE k.contype = 'f' AND k.confrelid = to_regclass('public.' || quote_ident(%(table)s))
   AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = k.confrelid
                      AND a.attname = %(time)s AND a.attnum = ANY(k.confkey))
"""
_RULES = """
SELECT 'rule ' || r.rulename, format('DROP RULE %%I ON public.%%I', r.rulename, %(table)s::text)
  FROM pg_rewrite AS r WHERE r.ev_class = to_regclass('public.' || quote_ident(%(table)s))
"""
_TRIGGERS = """
SELECT CASE g.tgenabled WHEN 'O' THEN 'row trigger with a transition table '
                        ELSE 'trigger that is not just enabled ' END || g.tgname,
       format('DROP TRIGGER %%I ON public.%%I', g.tgname, %(table)s::text)
  FROM pg_trigger AS g
 WHERE g.tgrelid = to_regclass('public.' || quote_ident(%(table)s)) AND NOT g.tgisinternal
   AND (g.tgtype & 1 = 1 AND (g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL)
        OR g.tgenabled <> 'O')
"""
_INHERITANCE = """
SELECT 'inheritance: child ' || h.inhrelid::regclass,
       format('ALTER TABLE %%s NO INHERIT public.%%I', h.inhrelid::regclass, %(table)s::text)
  FROM pg_inherits AS h WHERE h.inhparent = to_regclass('public.' || quote_ident(%(table)s))
UNION ALL
SELECT 'inheritance: parent ' || h.inhparent::regclass,
       format('ALTER TABLE public.%%I NO INHERIT %%s', %(table)s::text, h.inhparent::regclass)
  FROM pg_inherits AS h WHERE h.inhrelid = to_regclass('public.' || quote_ident(%(table)s))
"""
_PUBLICATIONS = """
SELECT 'publication ' || p.pubname,
       format('take public.%%I out of publication %%I', %(table)s::text, p.pubname)
  FROM pg_publication_tables AS p WHERE p.schemaname = 'public' AND p.tablename = %(table)s
"""
_NOT_LOGGED = """
SELECT 'it is unlogged', format('ALTER TABLE public.%%I SET LOGGED', %(table)s::text)
  FROM pg_class WHERE oid = to_regclass('public.' || quote_ident(%(table)s))
   AND relpersistence <> 'p'
"""
_REFUSED: tuple[LiteralString, ...] = (
    _UNIQUE,
    _REFERENCES,
    _RULES,
    _TRIGGERS,
    _INHERITANCE,
    _PUBLICATIONS,
    _NOT_LOGGED,
)
# What stands on the table's identity, and cannot be told to stand on another.
_STANDS_ON_IT: LiteralString = """
SELECT DISTINCT 'materialized view ' || c.oid::regclass,
       format('DROP MATERIALIZED VIEW %%s, and make it again afterwards', c.oid::regclass)
  FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
  JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'm'
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s))
UNION
SELECT 'function ' || p.oid::regprocedure,
       format('DROP FUNCTION %%s, and make it again afterwards', p.oid::regprocedure)
  FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid
 WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'n'
   AND (d.refclassid = 'pg_class'::regclass
        AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s))
        OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
           SELECT unnest(ARRAY[y.oid, y.typarray]) FROM pg_type AS y
            WHERE y.typrelid = to_regclass('public.' || quote_ident(%(table)s))))
UNION
SELECT 'column ' || a.attrelid::regclass || '.' || a.attname || ' of its row type',
       format('ALTER TABLE %%s DROP COLUMN %%I', a.attrelid::regclass, a.attname)
  FROM pg_attribute AS a JOIN pg_type AS y ON a.atttypid IN (y.oid, y.typarray)
 WHERE y.typrelid = to_regclass('public.' || quote_ident(%(table)s)) AND NOT a.attisdropped
   AND a.attnum > 0
UNION
SELECT 'identity column ' || a.attname,
       format('ALTER TABLE public.%%I ALTER COLUMN %%I DROP IDENTITY', %(table)s::text, a.attname)
  FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%(table)s)) AND a.attidentity <> ''
"""
_ROW_SECURITY = """
SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('public.' || quote_ident(%(table)s))
"""
_KEY_HOLDS_TIME = """
SELECT EXISTS (SELECT FROM pg_index AS x JOIN pg_attribute AS a ON a.attrelid = x.indrelid
                WHERE x.indrelid = to_regclass('public.' || quote_ident(%(table)s))
                  AND x.indisprimary AND a.attname = %(time)s AND a.attnum = ANY(x.indkey))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """One obstacle. ``remedy`` is what is done about it: by us, or where it ``stops`` the
    conversion, the SQL that somebody has to decide on.
    """

    what: str
    remedy: str
    stops: bool

    @property
    def sentence(self) -> str:
        """Say it with what is done."""
        return f"{self.what}: {self.remedy}"


def of(
    session: Session, table: str, time: str, *, keeps_table: bool, compresses: bool
) -> tuple[Hindrance, ...]:
    """Return what is in the way of a hypertable, as the table stands.

    ``keeps_table``: it stays the same table, so that what stands on its identity may stay too.
    """
    parameters = {"table": table, "time": time}
    found = []
    if not session.scalar(_KEY_HOLDS_TIME, parameters):
        remedy = f"becomes (id, {time})"
        found.append(Hindrance(what="primary key (id)", remedy=remedy, stops=False))
    queries = _REFUSED if keeps_table else (*_REFUSED, _STANDS_ON_IT)
    for query in queries:
        found += [
            Hindrance(what=what, remedy=f"the table stays plain until: {mend};", stops=True)
            for what, mend in session.rows(query, parameters)
        ]
    if compresses and session.scalar(_ROW_SECURITY, parameters):
        remedy = "kept; TimescaleDB does not compress such a table"
        found.append(Hindrance(what="row security", remedy=remedy, stops=False))
    return tuple(found)
