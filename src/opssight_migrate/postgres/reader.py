"""The catalogue of a database, read into its golden form with a handful of queries."""

from __future__ import annotations

from typing import Any

from opssight_migrate.opssight.golden import (
    CATALOGUE_FORMAT,
    Catalogue,
    Column,
    Index,
    Key,
    Sequence,
    Table,
)
from opssight_migrate.postgres.catalog import current_revision, without_schema
from opssight_migrate.postgres.session import Session

# What an extension made is not ours. attoptions is never read: some Debian builds keep an
# internal mark there. Every name is ordered by its bytes, whatever the database's collation.
_TABLES = """
SELECT c.oid::int8, c.relname::text
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname <> 'alembic_version'
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY c.relname COLLATE "C"
"""
_UNREADABLE = """
SELECT relname::text FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
   AND NOT has_table_privilege(oid, 'SELECT')
"""
_COLUMNS = """
SELECT a.attrelid::int8, a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text,
       (SELECT l.collname::text FROM pg_collation AS l
         WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation)
  FROM pg_attribute AS a
  JOIN pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = ANY(%(tables)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""
# Only these kinds: PostgreSQL 18 has a constraint (n) for each NOT NULL, older ones have none.
_CONSTRAINTS = """
SELECT k.conrelid::int8, k.contype::text, k.conname::text,
       ARRAY(SELECT a.attname::text
               FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number
              ORDER BY u.place),
       CASE WHEN r.relnamespace = 'public'::regnamespace THEN r.relname::text
            ELSE r.relnamespace::regnamespace::text || '.' || r.relname END,
       ARRAY(SELECT a.attname::text
               FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number
              ORDER BY u.place),
       k.confdeltype::text, k.confupdtype::text, k.condeferrable, k.convalidated,
       CASE WHEN k.contype = 'c' THEN pg_get_constraintdef(k.oid) END
  FROM pg_constraint AS k
  LEFT JOIN pg_class AS r ON r.oid = k.confrelid
 WHERE k.conrelid = ANY(%(tables)s::oid[]) AND k.contype IN ('p', 'u', 'f', 'c')
 ORDER BY k.conname COLLATE "C"
"""
_INDEXES = """
SELECT x.indrelid::int8, i.relname::text, x.indisunique, x.indisprimary,
       EXISTS (SELECT FROM pg_constraint AS k
                WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u')),
       x.indisvalid, pg_get_indexdef(x.indexrelid)
  FROM pg_index AS x
  JOIN pg_class AS i ON i.oid = x.indexrelid
 WHERE x.indrelid = ANY(%(tables)s::oid[])
 ORDER BY i.relname COLLATE "C"
"""
_ENUMS = """
SELECT t.typname::text,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e
              WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
  FROM pg_type AS t
 WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'e'
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
                      AND d.deptype = 'e')
 ORDER BY t.typname COLLATE "C"
"""
_SEQUENCES = """
SELECT s.relname::text, format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin,
       q.seqmax, q.seqcycle, o.owned_by
  FROM pg_class AS s
  JOIN pg_sequence AS q ON q.seqrelid = s.oid
  LEFT JOIN LATERAL (
       SELECT t.relname || '.' || a.attname AS owned_by
         FROM pg_depend AS d
         JOIN pg_class AS t ON t.oid = d.refobjid
         JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
          AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        LIMIT 1) AS o ON true
 WHERE s.relnamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
                      AND d.deptype = 'e')
 ORDER BY s.relname COLLATE "C"
"""
_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def readable(session: Session, catalogue: Catalogue) -> Catalogue:
    """Return the catalogue without the tables whose rows our role may not read: they are others'.

    That it can read OpsSight's own is looked at as soon as it is connected.
    """
    hidden = {name for (name,) in session.rows(_UNREADABLE)}
    tables = {name: table for name, table in catalogue["tables"].items() if name not in hidden}
    return {**catalogue, "tables": tables}


def read_catalogue(session: Session) -> Catalogue:
    """Return the catalogue of the schema ``public`` in the form of the golden ones.

    It asks six questions; hold ``session.reading()`` around it to get them answered from one
    snapshot. Server versions 13 to 18 give the same answer for the same schema.
    """
    names: dict[int, str] = dict(session.rows(_TABLES))
    tables: dict[int, Table] = {oid: _empty_table() for oid in names}
    which = {"tables": list(names)}
    for oid, *column in session.rows(_COLUMNS, which):
        tables[oid]["columns"].append(_column(column))
    for oid, *constraint in session.rows(_CONSTRAINTS, which):
        _add_constraint(tables[oid], constraint)
    for oid, *index in session.rows(_INDEXES, which):
        tables[oid]["indexes"].append(_index(index))
    catalogue: Catalogue = {
        "revision": current_revision(session),
        "catalogue_format": CATALOGUE_FORMAT,
        "tables": {name: tables[oid] for oid, name in names.items()},
        "enums": dict(session.rows(_ENUMS)),
        "sequences": {name: _sequence(rest) for name, *rest in session.rows(_SEQUENCES)},
        "counts": {},
    }
    catalogue["counts"] = _counts(catalogue)
    return catalogue


def _empty_table() -> Table:
    return Table(
        columns=[],
        primary_key=None,
        unique_constraints=[],
        foreign_keys=[],
        check_constraints=[],
        indexes=[],
    )


def _column(row: list[Any]) -> Column:
    name, type_, nullable, default, identity, generated, collation = row
    column: Column = {"name": name, "type": type_, "nullable": nullable, "default": default}
    if identity:
        column["identity"] = identity
    if generated:
        column["generated"] = generated
    if collation is not None:
        column["collation"] = collation
    return column


def _add_constraint(table: Table, row: list[Any]) -> None:
    kind, name, columns, references, ref_columns, on_delete, on_update, deferrable, valid, text = (
        row
    )
    if kind == "f":
        table["foreign_keys"].append(
            {
                "name": name,
                "columns": columns,
                "references": references,
                "ref_columns": ref_columns,
                "on_delete": _ACTIONS[on_delete],
                "on_update": _ACTIONS[on_update],
                "deferrable": deferrable,
                "validated": valid,
            }
        )
    elif kind == "c":
        table["check_constraints"].append({"name": name, "definition": text, "validated": valid})
    else:
        key: Key = {"name": name, "columns": columns}
        if deferrable:
            key["deferrable"] = True
        if kind == "p":
            table["primary_key"] = key
        else:
            table["unique_constraints"].append(key)


def _index(row: list[Any]) -> Index:
    name, unique, primary, backs_constraint, valid, definition = row
    return Index(
        name=name,
        unique=unique,
        primary=primary,
        backs_constraint=backs_constraint,
        valid=valid,
        definition=without_schema(definition),
    )


def _sequence(row: list[Any]) -> Sequence:
    type_, start, increment, minimum, maximum, cycle, owned_by = row
    return Sequence(
        type=type_,
        start=start,
        increment=increment,
        min=minimum,
        max=maximum,
        cycle=cycle,
        owned_by=owned_by,
    )


def _counts(catalogue: Catalogue) -> dict[str, int]:
    tables = catalogue["tables"].values()
    return {
        "tables": len(tables),
        "columns": sum(len(table["columns"]) for table in tables),
        "foreign_keys": sum(len(table["foreign_keys"]) for table in tables),
        "unique_constraints": sum(len(table["unique_constraints"]) for table in tables),
        "indexes": sum(len(table["indexes"]) for table in tables),
        "enums": len(catalogue["enums"]),
        "sequences": len(catalogue["sequences"]),
    }
