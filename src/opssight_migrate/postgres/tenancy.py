"""To which organization a row belongs: by its own column, or through the rows it points at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres.orphans import Reference
from opssight_migrate.postgres.session import Session

_OWN = "organization_id"
_PEOPLE = "users"
# What lets a user into a second organization may point at users of another one.
_MEMBERSHIPS = frozenset({"user_roles", "user_permissions"})
# An installation without organizations of its own at all is as deep as this: run, pipeline,
# project. Deeper paths come back to where they were.
_DEPTH = 3
_MEMBER = """
EXISTS (SELECT FROM public.user_roles AS m
         WHERE m.user_id = {user}.id AND m.organization_id::text = {tenant})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """Rows whose ``reference`` leads into another organization than their own."""

    reference: Reference
    rows: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """What the rows of one table say: who points across, and how many belong to nobody."""

    table: str
    across: tuple[Across, ...]
    unknown: int


@dataclass(slots=True)
class _Joins:
    """The joins that a question needs; each way to a parent is joined once."""

    parts: list[sql.Composed] = field(default_factory=list[sql.Composed])

    def join(self, child: sql.Composable, reference: Reference) -> sql.Identifier:
        alias = sql.Identifier(f"p{len(self.parts) + 1}")
        self.parts.append(
            sql.SQL(" LEFT JOIN {table} AS {alias} ON {alias}.{key} = {child}.{column}").format(
                table=sql.Identifier("public", reference.parent),
                alias=alias,
                key=sql.Identifier(reference.parent_columns[0]),
                child=child,
                column=sql.Identifier(reference.columns[0]),
            )
        )
        return alias


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The references of a database, and which of its tables have an organization of their own."""

    catalogue: Catalogue
    references: tuple[Reference, ...]

    def tables(self) -> list[str]:
        """Return the tables whose rows belong to an organization, in one way or another."""
        return [
            table for table in self.catalogue["tables"] if self._ways(table) or self._own(table)
        ]

    def belonging(self, session: Session, table: str) -> Belonging:
        """Ask of every row of a table, in one scan, to whom it and its parents belong."""
        ways = self._ways(table)
        joins = _Joins()
        row = sql.Identifier("t")
        parents = [(way, joins.join(row, way)) for way in ways]
        tenants = [self._tenant(way.parent, alias, joins, _DEPTH) for way, alias in parents]
        own = [sql.SQL("t.{}::text").format(sql.Identifier(_OWN))] if self._own(table) else tenants
        mine = sql.SQL("coalesce({}, NULL::text)").format(sql.SQL(", ").join(own))
        questions = [
            self._differs(way, alias, mine, tenant)
            for (way, alias), tenant in zip(parents, tenants, strict=True)
        ]
        key = self.catalogue["tables"][table]["primary_key"]
        shown = sql.Identifier("t", key["columns"][0] if key else "ctid")
        asked = [
            sql.SQL(
                ", count(*) FILTER (WHERE {q}),"
                " (array_agg({shown}::text ORDER BY {shown}) FILTER (WHERE {q}))[1:5]"
            ).format(q=question, shown=shown)
            for question in questions
        ]
        query = sql.SQL("SELECT count(*) FILTER (WHERE {mine} IS NULL){asked} FROM {table} AS t")
        found = session.rows(
            query.format(
                mine=mine, asked=sql.Composed(asked), table=sql.Identifier("public", table)
            )
            + sql.Composed(joins.parts)
        )[0]
        across = [
            Across(reference=way, rows=int(rows), keys=tuple(keys or ()))
            for way, rows, keys in zip(ways, found[1::2], found[2::2], strict=True)
            if rows
        ]
        return Belonging(table=table, across=tuple(across), unknown=int(found[0]))

    def _differs(
        self, way: Reference, alias: sql.Identifier, mine: sql.Composed, tenant: sql.Composed
    ) -> sql.Composed:
        differs = sql.SQL("{} <> {}").format(tenant, mine)
        if way.parent != _PEOPLE or "user_roles" not in self.catalogue["tables"]:
            return differs
        member = sql.SQL(_MEMBER).format(user=alias, tenant=mine)
        return sql.SQL("{} AND NOT {}").format(differs, member)

    def _tenant(self, table: str, alias: sql.Identifier, joins: _Joins, depth: int) -> sql.Composed:
        if self._own(table):
            return sql.SQL("{}.{}::text").format(alias, sql.Identifier(_OWN))
        ways = [way for way in self._ways(table) if way.parent != table] if depth else []
        found = [
            self._tenant(way.parent, joins.join(alias, way), joins, depth - 1) for way in ways[:1]
        ]
        return sql.SQL("coalesce({}, NULL::text)").format(
            sql.SQL(", ").join(found or [sql.SQL("NULL::text").format()])
        )

    def _own(self, table: str) -> bool:
        return any(c["name"] == _OWN for c in self.catalogue["tables"][table]["columns"])

    def _ways(self, table: str) -> Sequence[Reference]:
        """Return the references that say to whom a row belongs; people come last.

        A user may be in several organizations, a team or a project is in one.
        """
        ways = [
            one
            for one in self.references
            if one.child == table
            and len(one.columns) == 1
            and one.columns[0] != _OWN
            and not (table in _MEMBERSHIPS and one.parent == _PEOPLE)
            and self._belongs(one.parent)
        ]
        return sorted(ways, key=lambda one: one.parent == _PEOPLE)

    def _belongs(self, table: str, depth: int = _DEPTH) -> bool:
        if self._own(table):
            return True
        return depth > 0 and any(
            self._belongs(one.parent, depth - 1) for one in self._leaving(table)
        )

    def _leaving(self, table: str) -> Iterable[Reference]:
        return (one for one in self.references if one.child == table and one.parent != table)
