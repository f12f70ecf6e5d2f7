"""The foreign keys that there should be and those that there are, and the rows that break them."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.opssight.golden import Catalogue, golden
from opssight_migrate.postgres.session import Session

# A foreign key is two triggers on each table; a disabled one lets everything through.
_DISABLED = """
SELECT DISTINCT k.conname::text
  FROM pg_trigger AS g
  JOIN pg_constraint AS k ON k.oid = g.tgconstraint AND k.contype = 'f'
  JOIN pg_class AS c ON c.oid = k.conrelid
 WHERE g.tgisinternal AND g.tgenabled IN ('D', 'R') AND c.relnamespace = 'public'::regnamespace
"""
# LEFT JOIN, not NOT IN, which one NULL would make true of anything.
_ORPHANS = """
SELECT count(*), (array_agg({shown} ORDER BY {shown}))[1:5]
  FROM {child} AS c
 WHERE {given} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {joined})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key between tables of ``public``. ``is_ours`` where OpsSight has it."""

    name: str
    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    is_ours: bool

    @property
    def where(self) -> str:
        """The referring column, with its table."""
        return f"{self.child}.{', '.join(self.columns)}"


def references(revision: str, actual: Catalogue) -> list[Reference]:
    """Return the golden foreign keys and those that somebody added; of columns that exist."""
    found: dict[tuple[str, tuple[str, ...], str], Reference] = {}
    for catalogue, is_ours in ((golden(revision), True), (actual, False)):
        for child, table in catalogue["tables"].items():
            for key in table["foreign_keys"]:
                one = Reference(
                    name=key["name"],
                    child=child,
                    columns=tuple(key["columns"]),
                    parent=key["references"],
                    parent_columns=tuple(key["ref_columns"]),
                    is_ours=is_ours,
                )
                if _is_there(one, actual):
                    found.setdefault((one.child, one.columns, one.parent), one)
    return list(found.values())


def disabled(session: Session) -> set[str]:
    """Return the foreign keys whose triggers are off."""
    return {name for (name,) in session.rows(_DISABLED)}


def orphans(session: Session, reference: Reference, key: str) -> tuple[int, tuple[str, ...]]:
    """Count the rows that point at nothing, and name the first by ``key``; the key is not trusted.

    A row in which one of several columns is NULL points at nothing by right.
    """
    columns = zip(reference.columns, reference.parent_columns, strict=True)
    both = [(sql.Identifier("c", one), sql.Identifier("p", other)) for one, other in columns]
    query = sql.SQL(_ORPHANS).format(
        shown=sql.SQL("{}::text").format(sql.Identifier("c", key)),
        child=sql.Identifier("public", reference.child),
        parent=sql.Identifier("public", reference.parent),
        given=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(one) for one, _ in both),
        joined=sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in both),
    )
    rows, keys = session.rows(query)[0]
    return int(rows), tuple(keys or ())


def _is_there(reference: Reference, actual: Catalogue) -> bool:
    ends = ((reference.child, reference.columns), (reference.parent, reference.parent_columns))
    for table, columns in ends:
        present = actual["tables"].get(table)
        if present is None or not set(columns) <= {c["name"] for c in present["columns"]}:
            return False
    return True
