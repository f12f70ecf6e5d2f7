"""An excerpt of a database: some rows of each table, and every row that these point at.

Rows are known by their place (ctid), which holds still within one snapshot and which every table
has, with a key or without one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from psycopg import sql

from opssight_migrate.model.errors import PrivilegeError, StatementError
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import digest
from opssight_migrate.postgres.failures import translated
from opssight_migrate.postgres.orphans import Reference
from opssight_migrate.postgres.session import Session

_VERSION = "alembic_version"
# The oldest and the newest rows: those that a migration found, and those that came since.
_ENDS = """
(SELECT t.ctid::text FROM {table} AS t ORDER BY {up} LIMIT {half})
 UNION (SELECT t.ctid::text FROM {table} AS t ORDER BY {down} LIMIT {half})
"""
_SOME = "SELECT t.ctid::text FROM {table} AS t LIMIT {half} * 2"
_PARENTS = """
SELECT c.ctid::text, p.ctid::text
  FROM {child} AS c
  LEFT JOIN {parent} AS p ON {joined}
 WHERE c.ctid = ANY(%s::text[]::tid[]) AND {given}
"""
_WRITABLE = """
SELECT a.attname::text FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%s))
   AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 ORDER BY a.attnum
"""
_OUT = "COPY (SELECT {columns} FROM {table} AS t WHERE t.ctid = ANY({places}::tid[])) TO STDOUT"
_IN = "COPY {table} ({columns}) FROM STDIN"
_SEQUENCES = """
SELECT c.relname::text FROM pg_class AS c
 WHERE c.relkind = 'S' AND c.relnamespace = 'public'::regnamespace
"""
_STANDS = "SELECT last_value, is_called FROM {sequence}"
_SET = "SELECT setval(%s::regclass, %s, %s)"

_EXTENSIONS = """
SELECT e.extname::text, n.nspname::text
  FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname <> 'plpgsql' ORDER BY e.oid
"""
_MADE = (
    "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {schema}"
)

_Place = tuple[str, str]  # a table, and where in it


@dataclass(slots=True)
class Excerpt:
    """Which rows of which table. A row whose parent is not there at all is no part of it."""

    places: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))

    @property
    def rows(self) -> int:
        """How many rows it has, all tables together."""
        return sum(map(len, self.places.values()))


def choose(
    session: Session, catalogue: Catalogue, references: Sequence[Reference], *, most_rows: int
) -> Excerpt:
    """Choose up to ``most_rows`` of each table, and the rows that they need.

    Only reads; call it, and ``copy``, within one ``session.reading()``.
    """
    excerpt = Excerpt()
    for table in (_VERSION, *digest.columns_by_table(session)):
        query = _question(catalogue, table, most_rows // 2)
        excerpt.places[table] = {place for (place,) in session.rows(query)}
    leaving: dict[str, list[Reference]] = defaultdict(list)
    for reference in references:
        leaving[reference.child].append(reference)
    needs: list[tuple[_Place, _Place | None]] = []
    fresh = {table: set(places) for table, places in excerpt.places.items()}
    while fresh:
        found: dict[str, set[str]] = defaultdict(set)
        for table, places in fresh.items():
            for reference in leaving[table]:
                for child, parent in _parents(session, reference, places):
                    needed = None if parent is None else (reference.parent, parent)
                    needs.append(((table, child), needed))
                    if parent is not None and parent not in excerpt.places[reference.parent]:
                        found[reference.parent].add(parent)
        for table, places in found.items():
            excerpt.places[table] |= places
        fresh = found
    _leave_out_orphans(excerpt, needs)
    return excerpt


def copy(source: Session, target: Session, excerpt: Excerpt) -> None:
    """Write the rows into the same tables of another database, and set its sequences alike."""
    for table, places in excerpt.places.items():
        if places:
            _copy_table(source, target, table, places)
    for (name,) in source.rows(_SEQUENCES):
        sequence = sql.Identifier("public", name)
        last, is_called = source.rows(sql.SQL(_STANDS).format(sequence=sequence))[0]
        target.execute(_SET, (sequence.as_string(), last, is_called))


def make_extensions(source: Session, target: Session) -> None:
    """Make the extensions of the source where this role can; most are needed by nothing of ours."""
    for name, schema in source.rows(_EXTENSIONS):
        made = sql.SQL(_MADE).format(name=sql.Identifier(name), schema=sql.Identifier(schema))
        with suppress(StatementError, PrivilegeError):
            target.execute(made)


def _question(catalogue: Catalogue, table: str, half: int) -> sql.Composed:
    names = {"table": sql.Identifier("public", table), "half": sql.Literal(half)}
    present = catalogue["tables"].get(table)
    key = present["primary_key"] if present else None
    if key is None:
        return sql.SQL(_SOME).format(**names)
    columns = [sql.Identifier("t", name) for name in key["columns"]]
    down = sql.SQL(", ").join(sql.SQL("{} DESC").format(column) for column in columns)
    return sql.SQL(_ENDS).format(up=sql.SQL(", ").join(columns), down=down, **names)


def _parents(
    session: Session, reference: Reference, places: Iterable[str]
) -> list[tuple[str, str | None]]:
    """Return the place of each row and of the row it points at, None where that is not there."""
    pairs = [
        (sql.Identifier("c", one), sql.Identifier("p", other))
        for one, other in zip(reference.columns, reference.parent_columns, strict=True)
    ]
    query = sql.SQL(_PARENTS).format(
        child=sql.Identifier("public", reference.child),
        parent=sql.Identifier("public", reference.parent),
        joined=sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs),
        given=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(one) for one, _ in pairs),
    )
    return [(child, parent) for child, parent in session.rows(query, (list(places),))]


def _leave_out_orphans(excerpt: Excerpt, needs: Sequence[tuple[_Place, _Place | None]]) -> None:
    dependants: dict[_Place, list[_Place]] = defaultdict(list)
    lost: list[_Place] = []
    for child, parent in needs:
        if parent is None:
            lost.append(child)
        else:
            dependants[parent].append(child)
    while lost:
        table, place = lost.pop()
        if place in excerpt.places[table]:
            excerpt.places[table].discard(place)
            lost += dependants[table, place]


def _copy_table(source: Session, target: Session, table: str, places: Iterable[str]) -> None:
    columns = [sql.Identifier(name) for (name,) in source.rows(_WRITABLE, (table,))]
    names = {"table": sql.Identifier("public", table), "columns": sql.SQL(", ").join(columns)}
    out = sql.SQL(_OUT).format(places=sql.Literal(list(places)), **names)
    with (
        translated(),
        source.connection.cursor() as reader,
        target.connection.cursor() as writer,
        reader.copy(out) as rows,
        writer.copy(sql.SQL(_IN).format(**names)) as copied,
    ):
        for piece in rows:
            copied.write(piece)
