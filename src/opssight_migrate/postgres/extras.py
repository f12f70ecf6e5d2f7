"""What stands beside the golden catalogue: views, functions, triggers, publications and more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from opssight_migrate.postgres.session import Session

# Each answers (kind, name, table or NULL, detail). Extensions speak for their own objects, and
# TimescaleDB for the trigger that it puts on each hypertable.
_VIEWS = """
SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname), NULL::text,
       pg_get_viewdef(c.oid)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm')
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^(pg_|_?timescaledb)'
   AND (n.nspname = 'public'
        OR EXISTS (SELECT FROM pg_rewrite AS r
                     JOIN pg_depend AS d
                       ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                      AND d.refclassid = 'pg_class'::regclass
                     JOIN pg_class AS t ON t.oid = d.refobjid
                    WHERE r.ev_class = c.oid AND t.relnamespace = 'public'::regnamespace))
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
"""
# pg_get_functiondef knows no aggregates.
_FUNCTIONS = """
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
       'public.' || quote_ident(p.proname)
       || '(' || pg_get_function_identity_arguments(p.oid) || ')', NULL::text,
       CASE WHEN p.prokind = 'a' THEN pg_get_function_result(p.oid)
            ELSE pg_get_functiondef(p.oid) END
  FROM pg_proc AS p
 WHERE p.pronamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype = 'e')
"""
_TRIGGERS = """
SELECT 'trigger', quote_ident(g.tgname), c.relname::text,
       pg_get_triggerdef(g.oid) || CASE WHEN g.tgenabled = 'D' THEN ' (disabled)' ELSE '' END
  FROM pg_trigger AS g
  JOIN pg_class AS c ON c.oid = g.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT g.tgisinternal
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                     JOIN pg_extension AS x
                       ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = g.tgfoid
                      AND d.deptype = 'e' AND x.extname = 'timescaledb')
UNION ALL
SELECT 'event trigger', quote_ident(e.evtname), NULL, e.evtevent::text
  FROM pg_event_trigger AS e
 WHERE NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid
                      AND d.deptype = 'e')
"""
_POLICIES = """
SELECT 'policy', quote_ident(p.polname), c.relname::text,
       concat_ws(' ', p.polcmd::text, 'using', pg_get_expr(p.polqual, p.polrelid),
                 'with check', pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy AS p
  JOIN pg_class AS c ON c.oid = p.polrelid
 WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'row security', quote_ident(c.relname), c.relname::text,
       CASE WHEN c.relforcerowsecurity THEN 'forced' ELSE 'enabled' END
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND (c.relrowsecurity OR c.relforcerowsecurity)
"""
_RULES = """
SELECT 'rule', quote_ident(r.rulename), c.relname::text, pg_get_ruledef(r.oid)
  FROM pg_rewrite AS r
  JOIN pg_class AS c ON c.oid = r.ev_class
 WHERE c.relnamespace = 'public'::regnamespace AND r.rulename <> '_RETURN'
UNION ALL
SELECT 'exclusion constraint', quote_ident(k.conname), c.relname::text, pg_get_constraintdef(k.oid)
  FROM pg_constraint AS k
  JOIN pg_class AS c ON c.oid = k.conrelid
 WHERE c.relnamespace = 'public'::regnamespace AND k.contype = 'x'
UNION ALL
SELECT 'statistics', quote_ident(s.stxname), c.relname::text, pg_get_statisticsobjdef(s.oid)
  FROM pg_statistic_ext AS s
  JOIN pg_class AS c ON c.oid = s.stxrelid
 WHERE c.relnamespace = 'public'::regnamespace
"""
# A composite type of a table is the table's own; a foreign table is a relation without our rows.
_TYPES = """
SELECT CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'type' END,
       'public.' || quote_ident(t.typname), NULL::text,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE '' END
  FROM pg_type AS t
  LEFT JOIN pg_class AS c ON c.oid = t.typrelid
 WHERE t.typnamespace = 'public'::regnamespace
   AND (t.typtype IN ('d', 'r') OR t.typtype = 'c' AND c.relkind = 'c'
        OR t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid))
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
                      AND d.deptype = 'e')
UNION ALL
SELECT 'foreign table', 'public.' || quote_ident(c.relname), NULL, ''
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'f'
UNION ALL
SELECT 'extension', quote_ident(x.extname), NULL, x.extversion
  FROM pg_extension AS x
 WHERE x.extname <> 'plpgsql'
"""
# The view knows FOR ALL TABLES and FOR TABLES IN SCHEMA as well, and names each table.
_PUBLICATIONS = """
SELECT 'publication', quote_ident(p.pubname), p.tablename::text, ''
  FROM pg_publication_tables AS p
 WHERE p.schemaname = 'public' AND p.tablename <> 'alembic_version'
UNION ALL
SELECT 'publication', quote_ident(p.pubname), NULL, 'FOR ALL TABLES'
  FROM pg_publication AS p
 WHERE p.puballtables
UNION ALL
SELECT CASE WHEN s.active THEN 'active logical slot' ELSE 'logical slot' END,
       quote_ident(s.slot_name), NULL, s.plugin::text
  FROM pg_replication_slots AS s
 WHERE s.slot_type = 'logical' AND s.database = current_database()
"""
_ALL: tuple[LiteralString, ...] = (
    _VIEWS,
    _FUNCTIONS,
    _TRIGGERS,
    _POLICIES,
    _RULES,
    _TYPES,
    _PUBLICATIONS,
)
# A rule or policy of the table itself goes away with the table, but stands in the way of a column.
_DEPENDENTS = """
SELECT DISTINCT CASE WHEN r.rulename <> '_RETURN' THEN 'rule'
                     WHEN v.relkind = 'm' THEN 'materialized view' ELSE 'view' END,
       quote_ident(n.nspname) || '.' || quote_ident(v.relname)
       || CASE WHEN r.rulename <> '_RETURN' THEN '.' || quote_ident(r.rulename) ELSE '' END
  FROM pg_depend AS d
  JOIN pg_rewrite AS r ON r.oid = d.objid
  JOIN pg_class AS v ON v.oid = r.ev_class
  JOIN pg_namespace AS n ON n.oid = v.relnamespace
 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.deptype = 'n' AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s))
   AND (%(column)s::text IS NULL AND r.ev_class <> d.refobjid
        OR d.refobjsubid = (SELECT a.attnum FROM pg_attribute AS a
                             WHERE a.attrelid = d.refobjid AND a.attname = %(column)s::text))
UNION
SELECT 'policy', p.polrelid::regclass::text || '.' || quote_ident(p.polname)
  FROM pg_depend AS d
  JOIN pg_policy AS p ON p.oid = d.objid
 WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.deptype = 'n' AND d.refobjid = to_regclass('public.' || quote_ident(%(table)s))
   AND (%(column)s::text IS NULL AND p.polrelid <> d.refobjid
        OR d.refobjsubid = (SELECT a.attnum FROM pg_attribute AS a
                             WHERE a.attrelid = d.refobjid AND a.attname = %(column)s::text))
 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An object of a kind that the golden catalogues have none of.

    ``table`` is the table it belongs to, None where it belongs to none; ``detail`` its definition
    as the server tells it, or the one thing there is to say of it.
    """

    kind: str
    name: str
    table: str | None
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" on {self.table}" if self.table else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """Something that stands on a table or column; ``name`` is qualified."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def read_extras(session: Session) -> tuple[Extra, ...]:
    """Return what stands in and on the schema ``public`` besides tables, enums and sequences.

    Additional tables, columns, indexes, constraints, enums and sequences are in the catalogue
    itself: ``drift.differences`` names them. Views count in every schema if they read ours.
    """
    found = [
        Extra(kind=kind, name=name, table=table, detail=detail or "")
        for query in _ALL
        for kind, name, table, detail in session.rows(query)
    ]
    return tuple(sorted(found, key=lambda extra: (extra.kind, extra.name, extra.table or "")))


def dependents_of(session: Session, table: str, column: str | None) -> list[Dependent]:
    """Return the views, materialized views, rules and policies that stand on a table.

    With a ``column``, those that stand on that column. None of a table's own rules and policies
    is named for the table itself, since they go away with it.
    """
    found = session.rows(_DEPENDENTS, {"table": table, "column": column})
    return [Dependent(kind=kind, name=name) for kind, name in found]
