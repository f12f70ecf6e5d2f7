"""All that hangs on a table, as the statements that make it anew on another of the same name.

The same list is recipe and proof: what is read from the table before it is replaced is carried
out on the new one, and what is read from that one afterwards must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

from psycopg import sql

from opssight_migrate.postgres.session import Session

INBOUND, FOREIGN_KEY, VIEW = "inbound foreign key", "foreign key", "view"
GRANT, TRIGGER, POLICY = "grant", "trigger", "policy"
# TimescaleDB's own triggers on a hypertable.
OWN_TRIGGERS = ("ts_insert_blocker", "ts_cagg_invalidation_trigger")
# In the order in which they can be made; statements are the server's own text where it has one.
_PIECES = """
WITH t AS (SELECT c.*, 'public.' || quote_ident(c.relname) AS place FROM pg_class AS c
            WHERE c.oid = to_regclass(quote_ident(%(schema)s) || '.' || quote_ident(%(table)s)))
SELECT 1, 'column', a.attname::text, NULL,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull,
                 pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
                 a.attstorage::text, a.attcollation, col_description(a.attrelid, a.attnum))
  FROM t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT 2, 'check constraint', k.conname::text, NULL, pg_get_constraintdef(k.oid)
  FROM t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype = 'c'
UNION ALL
SELECT 3, 'owner', '', format('ALTER TABLE %%s OWNER TO %%I', place, pg_get_userbyid(relowner)), ''
  FROM t
UNION ALL
SELECT 4, 'statistics target', a.attname::text,
       format('ALTER TABLE %%s ALTER COLUMN %%I SET STATISTICS %%s', place, a.attname,
              a.attstattarget), ''
  FROM t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE a.attstattarget >= 0
UNION ALL
SELECT 5, 'option', o, format('ALTER TABLE %%s SET (%%s)', place, o), ''
  FROM t, unnest(t.reloptions) AS o
UNION ALL
SELECT 6, 'row security', '', format('ALTER TABLE %%s ENABLE ROW LEVEL SECURITY', place), ''
  FROM t WHERE relrowsecurity
UNION ALL
SELECT 6, 'row security', 'forced', format('ALTER TABLE %%s FORCE ROW LEVEL SECURITY', place), ''
  FROM t WHERE relforcerowsecurity
UNION ALL
SELECT 7, 'constraint', k.conname::text,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', place, k.conname,
              pg_get_constraintdef(k.oid)), ''
  FROM t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('u', 'x')
UNION ALL
SELECT 8, 'index', i.relname::text, pg_get_indexdef(x.indexrelid), ''
  FROM t JOIN pg_index AS x ON x.indrelid = t.oid AND x.indisvalid
  JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.indexrelid
                      AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 9, 'statistics', s.stxname::text, pg_get_statisticsobjdef(s.oid),
       s.stxnamespace::regnamespace::text
  FROM t JOIN pg_statistic_ext AS s ON s.stxrelid = t.oid
UNION ALL
SELECT 10, 'foreign key', k.conname::text,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', place, k.conname,
              pg_get_constraintdef(k.oid)), ''
  FROM t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype = 'f'
UNION ALL
SELECT 11, 'trigger', g.tgname::text, pg_get_triggerdef(g.oid), ''
  FROM t JOIN pg_trigger AS g ON g.tgrelid = t.oid AND NOT g.tgisinternal
 WHERE g.tgname <> ALL(%(own_triggers)s)
UNION ALL
SELECT 13, 'policy', p.policyname::text,
       format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s', p.policyname, place, p.permissive,
              p.cmd, (SELECT string_agg(CASE r WHEN 'public' THEN 'PUBLIC'
                                               ELSE quote_ident(r) END, ', ')
                        FROM unnest(p.roles) AS r))
       || coalesce(' USING (' || p.qual || ')', '')
       || coalesce(' WITH CHECK (' || p.with_check || ')', ''), ''
  FROM t JOIN pg_policies AS p ON p.schemaname = 'public' AND p.tablename = t.relname
UNION ALL
SELECT 14, 'grant', concat_ws(' ', g.privilege_type, g.grantee),
       format('GRANT %%s ON %%s TO %%s%%s', g.privilege_type, place,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ''
  FROM t, aclexplode(t.relacl) AS g
UNION ALL
SELECT 14, 'grant', concat_ws(' ', g.privilege_type, a.attname, g.grantee),
       format('GRANT %%s (%%I) ON %%s TO %%s%%s', g.privilege_type, a.attname, place,
              CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
              CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), ''
  FROM t JOIN pg_attribute AS a ON a.attrelid = t.oid AND NOT a.attisdropped,
       aclexplode(a.attacl) AS g
UNION ALL
SELECT 15, 'comment', '', format('COMMENT ON TABLE %%s IS %%L', place, m.description), ''
  FROM t JOIN pg_description AS m ON m.objoid = t.oid AND m.objsubid = 0
   AND m.classoid = 'pg_class'::regclass
UNION ALL
SELECT 15, 'comment', i.relname::text,
       format('COMMENT ON INDEX public.%%I IS %%L', i.relname, m.description), ''
  FROM t JOIN pg_index AS x ON x.indrelid = t.oid JOIN pg_class AS i ON i.oid = x.indexrelid
  JOIN pg_description AS m ON m.objoid = i.oid AND m.classoid = 'pg_class'::regclass
UNION ALL
SELECT 16, 'sequence', s.relname::text,
       format('ALTER SEQUENCE %%I.%%I OWNED BY %%s.%%I', n.nspname, s.relname, place, a.attname), ''
  FROM t JOIN pg_depend AS d ON d.refobjid = t.oid AND d.refclassid = 'pg_class'::regclass
   AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
  JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN pg_namespace AS n ON n.oid = s.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
UNION ALL
SELECT DISTINCT 17, 'view', format('%%I.%%I', n.nspname, v.relname),
       format('CREATE OR REPLACE VIEW %%I.%%I%%s AS %%s', n.nspname, v.relname,
              coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', ''),
              rtrim(pg_get_viewdef(v.oid), ';')), ''
  FROM t JOIN pg_depend AS d ON d.refobjid = t.oid AND d.refclassid = 'pg_class'::regclass
   AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite AS r ON r.oid = d.objid AND r.ev_class <> t.oid
  JOIN pg_class AS v ON v.oid = r.ev_class AND v.relkind = 'v'
  JOIN pg_namespace AS n ON n.oid = v.relnamespace
UNION ALL
SELECT 18, 'inbound foreign key', format('%%I.%%I', n.nspname, k.conname),
       format('ALTER TABLE %%I.%%I ADD CONSTRAINT %%I %%s NOT VALID', n.nspname, o.relname,
              k.conname, regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')),
       format('ALTER TABLE %%I.%%I DROP CONSTRAINT %%I', n.nspname, o.relname, k.conname)
  FROM t JOIN pg_constraint AS k ON k.confrelid = t.oid AND k.contype = 'f'
   AND k.conparentid = 0
  JOIN pg_class AS o ON o.oid = k.conrelid AND o.oid <> t.oid
  JOIN pg_namespace AS n ON n.oid = o.relnamespace
 WHERE NOT EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = o.oid AND h.inhparent = t.oid)
 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing that hangs on a table. ``statement`` makes it anew; None: the new table has it.

    ``detail`` is what else there is to compare, or the statement that lets go of it.
    """

    kind: str
    name: str
    statement: str | None
    detail: str

    @property
    def sentence(self) -> str:
        """Name it."""
        return f"{self.kind} {self.name}".strip()


def pieces(session: Session, table: str, schema: str = "public") -> tuple[Piece, ...]:
    """Return all that hangs on a table, but for its primary key."""
    parameters = {"schema": schema, "table": table, "own_triggers": list(OWN_TRIGGERS)}
    return tuple(
        Piece(kind=kind, name=name, statement=statement, detail=detail or "")
        for _, kind, name, statement, detail in session.rows(_PIECES, parameters)
    )


def of(found: Iterable[Piece], *kinds: str) -> tuple[Piece, ...]:
    """Return the pieces of some kinds."""
    return tuple(piece for piece in found if piece.kind in kinds)


def but(found: Iterable[Piece], *kinds: str) -> tuple[Piece, ...]:
    """Return the pieces of all other kinds."""
    return tuple(piece for piece in found if piece.kind not in kinds)


def carry(session: Session, table: str, wanted: Iterable[Piece]) -> None:
    """Make what is lacking of ``wanted`` on the table of that name, in the caller's transaction.

    Foreign keys of others come back without a look at the rows: to validate them is left to the
    caller.
    """
    there = pieces(session, table)
    for piece in wanted:
        if piece.statement is not None and piece not in there:
            _run(session, piece.statement)


def revoke_unasked(session: Session, table: str, wanted: Iterable[Piece]) -> None:
    """Take back what default privileges gave to a new table without being asked."""
    recipe = set(wanted)
    for extra in of(pieces(session, table), GRANT):
        if extra not in recipe and extra.statement is not None:
            undone = extra.statement.replace("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM ", 1)
            _run(session, undone.removesuffix(" WITH GRANT OPTION"))


def triggers_of(session: Session, table: str, schema: str) -> tuple[Piece, ...]:
    """Return the triggers of a table elsewhere as those of the table of that name in ``public``."""
    place = sql.Identifier(schema, table).as_string(session.connection).replace('"', "")
    return tuple(
        replace(
            piece, statement=str(piece.statement).replace(f" ON {place} ", f" ON public.{table} ")
        )
        for piece in of(pieces(session, table, schema), TRIGGER)
    )


def drop_triggers(session: Session, table: str, found: Iterable[Piece]) -> None:
    """Drop triggers, which would otherwise see each row again that is moved or copied."""
    for piece in of(found, TRIGGER):
        session.execute(
            sql.SQL("DROP TRIGGER {} ON {}").format(
                sql.Identifier(piece.name), sql.Identifier("public", table)
            )
        )


def let_go(session: Session, found: Iterable[Piece]) -> None:
    """Take away what must not follow a table: foreign keys of others to it, owned sequences.

    Statistics objects have a schema of their own, and would keep their names from the new table.
    """
    for piece in of(found, INBOUND):
        _run(session, piece.detail)
    for piece in of(found, "statistics"):
        session.execute(
            sql.SQL("DROP STATISTICS {}").format(sql.Identifier(piece.detail, piece.name))
        )
    for piece in of(found, "sequence"):
        owned = str(piece.statement)
        _run(session, f"{owned[: owned.index(' OWNED BY ')]} OWNED BY NONE")


def lacking(wanted: Iterable[Piece], found: Iterable[Piece]) -> list[str]:
    """Name what differs between two tables, in words; empty when all was carried over."""
    before, after = set(wanted), set(found)
    missing = [f"{one.sentence} is not as before" for one in before - after]
    names = {(one.kind, one.name) for one in before}
    added = [
        f"{one.sentence} was not there before"
        for one in after - before
        if (one.kind, one.name) not in names
    ]
    return sorted(missing) + sorted(added)


def _run(session: Session, statement: str) -> None:
    # The server's own text, with its own quoting: not put together from anything of ours.
    session.execute(sql.SQL(cast("Any", statement)))
