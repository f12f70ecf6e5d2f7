"""Writers stopped for a moment, and what they had written since a snapshot: exact, by xmin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opssight_migrate.model.errors import BusyError
from opssight_migrate.postgres import journal
from opssight_migrate.postgres.failures import LockNotAvailableError
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Identifier, Literal

# Tables of extensions, archives and the stamp are not the application's to write. A parent is
# locked and read with its children.
_TABLES = """
SELECT n.nspname::text, c.relname::text
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|information_schema$|_timescaledb)'
   AND n.nspname <> %s AND NOT starts_with(n.nspname, 'opssight_archive_')
   AND (n.nspname, c.relname) <> ('public', 'alembic_version')
   AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
   AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1, 2
"""
_SNAPSHOT = "SELECT pg_current_snapshot()::text"
_ROWS = SQL("SELECT count(*) FROM {}")
# Only rows younger than the oldest transaction of the snapshot are looked at closely. xmin has 32
# bits, and so is counted back from the newest transaction.
_SINCE = SQL("""
SELECT count(*), count(*) FILTER (WHERE CASE
         WHEN age(t.xmin) <= age(pg_snapshot_xmin(s.then)::xid)
         THEN NOT pg_visible_in_snapshot(
                (s.next - (s.next - t.xmin::text::int8 + 4294967296) % 4294967296)::text::xid8,
                s.then)
         ELSE false END)
  FROM {table} AS t,
       (SELECT {then}::pg_snapshot AS then,
               pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS next) AS s
""")
_WAIT = "SET LOCAL lock_timeout = '1s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A snapshot by its number, and how many rows each table had in it."""

    snapshot: str
    rows: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written to one table: ``new`` rows are inserted or changed, ``gone`` ones changed
    or deleted. ``query`` lists the new ones, in this database, under whatever name it has.
    """

    table: str
    new: int
    gone: int
    query: str

    @property
    def sentence(self) -> str:
        """Say it in words."""
        return f"{self.table}: {self.new:,} rows written, {self.gone:,} changed or deleted"


def moment(session: Session) -> Moment:
    """Remember the snapshot that the session is in."""
    return Moment(
        snapshot=session.scalar(_SNAPSHOT),
        rows={
            table: int(session.scalar(_ROWS.format(Identifier(*table))))
            for table in _tables(session)
        },
    )


def stop_writers(session: Session) -> None:
    """Begin a transaction in which nobody else writes; it ends with the session, at the latest.

    Readers read on, writers wait.

    Raises: BusyError, if a table is being written to for longer than a second.
    """
    tables = [Identifier(*table) for table in _tables(session)]
    session.execute("BEGIN")
    if not tables:
        return
    session.execute(_WAIT)
    try:
        session.execute(SQL("LOCK TABLE {} IN SHARE MODE").format(SQL(", ").join(tables)))
    except LockNotAvailableError as error:
        raise BusyError(
            f"somebody is writing and does not end: {error.message}",
            hint="end that transaction, and give the same command again",
            sqlstate=error.sqlstate,
        ) from error


def written_since(session: Session, then: Moment) -> tuple[Written, ...]:
    """Return what was committed after ``then``, table by table, each counted in one scan."""
    found: list[Written] = []
    for schema, name in _tables(session):
        table = Identifier(schema, name)
        query = _SINCE.format(table=table, then=Literal(then.snapshot))
        rows, new = session.rows(query)[0]
        before = then.rows.get((schema, name), 0)
        gone = max(before - (rows - new), 0)  # an archive has rows that stood elsewhere then
        if new or gone:
            found.append(
                Written(
                    table=name if schema == "public" else f"{schema}.{name}",
                    new=int(new),
                    gone=int(gone),
                    query=_listing(session, table, then.snapshot),
                )
            )
    return tuple(found)


def _tables(session: Session) -> list[tuple[str, str]]:
    return [(schema, name) for schema, name in session.rows(_TABLES, (journal.SCHEMA,))]


def _listing(session: Session, table: Identifier, snapshot: str) -> str:
    query = SQL(
        "SELECT * FROM {} AS t WHERE age(t.xmin) <= age(pg_snapshot_xmin({}::pg_snapshot)::xid)"
    ).format(table, Literal(snapshot))
    return query.as_string(session.connection)
