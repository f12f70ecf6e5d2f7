"""Foreign keys as data: read from a table, let go, remembered as JSON, and made again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from opssight_migrate.postgres.session import Session

_OF_TABLE = """
SELECT k.conname::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number
              ORDER BY u.place),
       n.nspname::text, r.relname::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
               JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number
              ORDER BY u.place),
       k.confdeltype::text, k.confupdtype::text, k.condeferrable, k.condeferred
  FROM pg_constraint AS k
  JOIN pg_class AS r ON r.oid = k.confrelid
  JOIN pg_namespace AS n ON n.oid = r.relnamespace
 WHERE k.contype = 'f'
   AND k.conrelid = to_regclass(quote_ident(%s) || '.' || quote_ident(%s))
   AND k.confrelid <> k.conrelid
 ORDER BY 1
"""
_SELF = """
SELECT a.attname::text
  FROM pg_constraint AS k
  JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
 WHERE k.contype = 'f' AND k.conrelid = to_regclass('public.' || quote_ident(%s))
   AND k.confrelid = k.conrelid AND cardinality(k.conkey) = 1
 ORDER BY 1
"""
_TABLE_EXISTS = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
_ACTIONS: dict[str, sql.SQL] = {
    "a": sql.SQL("NO ACTION"),
    "r": sql.SQL("RESTRICT"),
    "c": sql.SQL("CASCADE"),
    "n": sql.SQL("SET NULL"),
    "d": sql.SQL("SET DEFAULT"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key of one table; the actions are pg_constraint's letters."""

    name: str
    columns: tuple[str, ...]
    schema: str
    table: str
    ref_columns: tuple[str, ...]
    on_delete: str = "a"
    on_update: str = "a"
    deferrable: bool = False
    deferred: bool = False

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ForeignKey:
        """Return what ``as_json`` wrote."""
        lists = {name: tuple(values[name]) for name in ("columns", "ref_columns")}
        return cls(**{**values, **lists})

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @property
    def references(self) -> sql.Identifier:
        """The other table."""
        return sql.Identifier(self.schema, self.table)

    def exists_for(self, session: Session) -> bool:
        """Tell whether the table it points at is there."""
        return bool(session.scalar(_TABLE_EXISTS, (self.schema, self.table)))

    def added_to(self, table: str) -> sql.Composed:
        """Return the ALTER TABLE that adds it without a check of the rows that are there."""
        return sql.SQL(
            "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({columns})"
            " REFERENCES {references} ({ref_columns})"
            " ON DELETE {on_delete} ON UPDATE {on_update}{deferrable}{deferred} NOT VALID"
        ).format(
            table=sql.Identifier("public", table),
            name=sql.Identifier(self.name),
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            references=self.references,
            ref_columns=sql.SQL(", ").join(map(sql.Identifier, self.ref_columns)),
            on_delete=_ACTIONS[self.on_delete],
            on_update=_ACTIONS[self.on_update],
            deferrable=sql.SQL(" DEFERRABLE" if self.deferrable else ""),
            deferred=sql.SQL(" INITIALLY DEFERRED" if self.deferred else ""),
        )

    def broken_by(self, alias: sql.Identifier) -> sql.Composed:
        """Return the condition that is true of a row whose parent is not there."""
        parent = sql.Identifier("p")
        return sql.SQL(
            "({given} AND NOT EXISTS (SELECT FROM {references} AS {parent} WHERE {same}))"
        ).format(
            given=sql.SQL(" AND ").join(
                sql.SQL("{}.{} IS NOT NULL").format(alias, sql.Identifier(column))
                for column in self.columns
            ),
            references=self.references,
            parent=parent,
            same=sql.SQL(" AND ").join(
                sql.SQL("{}.{} = {}.{}").format(
                    parent, sql.Identifier(theirs), alias, sql.Identifier(ours)
                )
                for ours, theirs in zip(self.columns, self.ref_columns, strict=True)
            ),
        )


def of_table(session: Session, table: str, schema: str = "public") -> tuple[ForeignKey, ...]:
    """Return the foreign keys of a table that point at other tables."""
    return tuple(
        ForeignKey(
            name=name,
            columns=tuple(columns),
            schema=schema,
            table=other,
            ref_columns=tuple(ref_columns),
            on_delete=on_delete,
            on_update=on_update,
            deferrable=deferrable,
            deferred=deferred,
        )
        for (
            name,
            columns,
            schema,
            other,
            ref_columns,
            on_delete,
            on_update,
            deferrable,
            deferred,
        ) in session.rows(_OF_TABLE, (schema, table))
    )


def tables_of(session: Session, table: str, schema: str = "public") -> tuple[str, ...]:
    """Return the tables in ``public`` that a table's foreign keys point at, each once."""
    keys = of_table(session, table, schema)
    return tuple(sorted({key.table for key in keys if key.schema == "public"}))


def to_itself(session: Session, table: str) -> tuple[str, ...]:
    """Return the columns by which rows of a table point at other rows of it."""
    return tuple(str(column) for (column,) in session.rows(_SELF, (table,)))
