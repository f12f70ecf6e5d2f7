"""Idempotent DDL for a live database: each piece looks first and takes its locks at the door.

Online, every piece is a short transaction of its own and indexes are built CONCURRENTLY. On a
database without a single row, the whole of a revision is one transaction instead, and leaves no
shims, since no release of the application depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from opssight_migrate.model.errors import ShapeError
from opssight_migrate.model.events import Emit, StatementStarted, unheard
from opssight_migrate.opssight.shims import UniqueShim
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import (
    archive,
    catalog,
    column_values,
    homecoming,
    indexes,
    ownership,
)
from opssight_migrate.postgres.locks import Door, Mode, Wanted
from opssight_migrate.postgres.new_table import NewTable
from opssight_migrate.postgres.references import ForeignKey
from opssight_migrate.postgres.session import Session


class _NotEmptyError(Exception):
    """A row arrived between the look and the locks: go the online way."""


class Ddl:
    """The DDL of one revision, for one session.

    ``whole`` is true inside the one transaction of an empty database; then nothing is
    concurrent and no shim is left.
    """

    def __init__(
        self,
        session: Session,
        door: Door,
        *,
        emit: Emit = unheard,
        step_id: str = "",
        organization: tuple[str, str] = ("Default Organization", "default"),
        whole: bool = False,
        pace: Callable[[], None] | None = None,
    ) -> None:
        self.session = session
        self.door = door
        self.pace = pace or door.pause_point
        self.emit = emit
        self.step_id = step_id
        self.organization = organization
        self.whole = whole

    @property
    def leaves_shims(self) -> bool:
        """Whether the old release must go on working beside the new schema."""
        return not self.whole

    def expand(self, work: Callable[[Ddl], None]) -> None:
        """Run ``work`` whole where the database has no row at all, else online.

        Emptiness is a property of the database, not of a table, and is looked at under locks
        that keep the first row out.
        """
        present = tuple(t for t in TABLES_AT_START if catalog.relation_exists(self.session, t))
        if catalog.any_has_rows(self.session, present):
            work(self)
            return
        inside = Ddl(
            self.session,
            self.door,
            emit=self.emit,
            step_id=self.step_id,
            organization=self.organization,
            whole=True,
        )

        def locked() -> None:
            if catalog.any_has_rows(self.session, present):
                raise _NotEmptyError
            work(inside)

        try:
            self.door.through(tuple(Wanted(t, Mode.SHARE_ROW_EXCLUSIVE) for t in present), locked)
        except _NotEmptyError:
            work(self)

    def enum(self, name: str, labels: Sequence[str]) -> None:
        """Create an enum type with these labels in this order, unless it is there."""
        found = catalog.enum_labels(self.session, name)
        if found is not None:
            if tuple(found) != tuple(labels):
                raise ShapeError(f"type {name} has other labels: {', '.join(found)}", where=name)
            return
        archived = homecoming.type_to_fetch(self.session, name, labels)

        def work() -> None:
            if archived is not None:
                homecoming.fetch_type(self.session, archived)
                return
            self.session.execute(
                sql.SQL("CREATE TYPE {} AS ENUM ({})").format(
                    sql.Identifier(name), sql.SQL(", ").join(map(sql.Literal, labels))
                )
            )
            ownership.adopt_type(self.session, name)

        self.transaction(f"CREATE TYPE {name}", (), work)

    def table(self, new: NewTable) -> None:
        """Create a table with its indexes, owner and grants, then its foreign keys one by one.

        Made with the table, a foreign key would stop the writers of the other table until the
        last index is built. A table that a rollback archived comes home with its rows instead.
        """
        if not catalog.relation_exists(self.session, new.name):
            archived = homecoming.table_to_fetch(self.session, new.name)

            def work() -> None:
                if archived is not None:
                    homecoming.fetch_table(self.session, archived)
                    return
                self.session.execute(new.without_foreign_keys)
                ownership.adopt_table(self.session, new.name)

            self.transaction(f"CREATE TABLE {new.name}", (), work)
        entry = homecoming.on_its_way(self.session, new.name)
        for key in entry.foreign_keys if entry else ():
            self.remade(new.name, key)
        for column, references in new.foreign_keys:
            self.foreign_key(new.name, column, references)
        if entry is not None:
            homecoming.arrived(self.session, entry)

    def column(
        self,
        table: str,
        column: str,
        definition: sql.Composable,
        *,
        then: sql.Composable | None = None,
    ) -> None:
        """Add a column as ``definition`` says, unless it is there.

        ``then`` is what ALTER COLUMN does to it in the same transaction, or None.
        """
        if catalog.column_state(self.session, table, column) is not None:
            return
        names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}

        def work() -> None:
            self.session.execute(
                sql.SQL("ALTER TABLE {table} ADD COLUMN {column} {definition}").format(
                    definition=definition, **names
                )
            )
            if then is not None:
                self.session.execute(
                    sql.SQL("ALTER TABLE {table} ALTER COLUMN {column} {then}").format(
                        then=then, **names
                    )
                )

        self.transaction(f"ADD COLUMN {table}.{column}", (Wanted(table),), work)

    def default(self, table: str, column: str, value: sql.Literal) -> None:
        """Give a column a default for rows to come; a catalogue write."""
        self.transaction(
            f"SET DEFAULT {table}.{column}",
            (Wanted(table),),
            lambda: self.run(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}").format(
                    sql.Identifier(table), sql.Identifier(column), value
                )
            ),
        )

    def no_default(self, table: str, column: str) -> None:
        """Take a column's default away; a catalogue write."""
        self._alter(
            f"DROP DEFAULT {table}.{column}",
            Wanted(table),
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT").format(
                sql.Identifier(table), sql.Identifier(column)
            ),
        )

    def not_null(self, table: str, column: str) -> None:
        """Forbid NULL: a check proves it while everybody works on, then SET NOT NULL trusts it."""
        check = f"{table}_{column}_not_null"
        names = {
            "table": sql.Identifier(table),
            "column": sql.Identifier(column),
            "check": sql.Identifier(check),
        }
        state = catalog.constraint_state(self.session, table, check)
        if state is None:
            self._alter(
                f"ADD CHECK {check}",
                Wanted(table),
                sql.SQL(
                    "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL)"
                    " NOT VALID"
                ).format(**names),
            )
        if state is None or not state.validated:
            self._alter(
                f"VALIDATE CONSTRAINT {check}",
                Wanted(table, Mode.SHARE_UPDATE_EXCLUSIVE),
                sql.SQL("ALTER TABLE {table} VALIDATE CONSTRAINT {check}").format(**names),
            )
        self._alter(
            f"SET NOT NULL {table}.{column}",
            Wanted(table),
            sql.SQL(
                "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;"
                " ALTER TABLE {table} DROP CONSTRAINT {check}"
            ).format(**names),
        )

    def foreign_key(self, table: str, column: str, references: str) -> None:
        """Add a foreign key without a check, then validate it while everybody works on."""
        name = f"{table}_{column}_fkey"
        key = ForeignKey(
            name=name,
            columns=(column,),
            schema="public",
            table=references,
            ref_columns=("id",),
        )
        self.remade(table, key)

    def remade(self, table: str, key: ForeignKey) -> None:
        """Add and validate a foreign key; what an archive has for it comes home in between."""
        state = catalog.constraint_state(self.session, table, key.name)
        if state is None:
            if not key.exists_for(self.session):
                return
            others = (Wanted(key.table, Mode.SHARE_ROW_EXCLUSIVE),)[: key.schema == "public"]
            self.transaction(
                f"ADD FOREIGN KEY {key.name}",
                (*others, Wanted(table, Mode.SHARE_ROW_EXCLUSIVE)),
                lambda: self.run(key.added_to(table)),
            )
        if state is None or not state.validated:
            self._fill(table, key)
            self.transaction(
                f"VALIDATE CONSTRAINT {key.name}",
                (Wanted(table, Mode.SHARE_UPDATE_EXCLUSIVE),),
                lambda: self.run(
                    sql.SQL("ALTER TABLE {table} VALIDATE CONSTRAINT {name}").format(
                        table=sql.Identifier(table), name=sql.Identifier(key.name)
                    )
                ),
            )

    def _fill(self, table: str, key: ForeignKey) -> None:
        entry = homecoming.on_its_way(self.session, table)
        if entry is not None and homecoming.leave_orphans(self.session, entry, key):
            left = archive.named(self.session, "orphans", table)
            homecoming.told(self.emit, self.session, left, f"{key.table} has no such row any more")
        if len(key.columns) == 1:
            self.values(table, key.columns[0], parent=key)

    def values(self, table: str, column: str, *, parent: ForeignKey | None = None) -> None:
        """Put back what a rollback archived of a column, in small batches."""
        left = column_values.bring_back(
            self.session, table, column, parent=parent, pause_point=self.pace
        )
        homecoming.told(self.emit, self.session, left, "the row, or its parent, is gone")

    def usual(self, table: str, column: str) -> object | None:
        """Return the value that a rollback did not have to archive, or None without a rollback."""
        return column_values.usual_of(self.session, table, column)

    def unique_constraint(self, table: str, name: str, columns: Sequence[str]) -> None:
        """Add a UNIQUE constraint: its index is built CONCURRENTLY, then adopted."""
        if catalog.constraint_state(self.session, table, name) is not None:
            return
        self.index(name, table, columns, unique=True)
        self.transaction(
            f"ADD CONSTRAINT {name}",
            (Wanted(table),),
            lambda: self.run(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} UNIQUE USING INDEX {}").format(
                    sql.Identifier(table), sql.Identifier(name), sql.Identifier(name)
                )
            ),
        )

    def index(self, name: str, table: str, columns: Sequence[str], *, unique: bool = False) -> None:
        """Build an index, valid and as defined; a broken one of that name is built again."""
        statement = indexes.statement(name, table, columns, unique=unique, online=not self.whole)
        self._started(f"CREATE INDEX {name}")
        indexes.ensure(self.session, self.door, name, statement, online=not self.whole)

    def retire_unique(self, shim: UniqueShim) -> None:
        """Let a plain twin take the name of a unique index, which goes on as a shim.

        On an empty database the unique index is dropped, since nobody needs it.
        """
        state = catalog.index_state(self.session, shim.golden_index)
        if state is not None and not state.unique:
            self.drop_twin(shim)
            return
        if self.whole:
            self._drop_index_here(shim.golden_index)
            self.index(shim.golden_index, shim.table, (shim.column,))
            return
        self.index(shim.twin, shim.table, (shim.column,))
        self.swap(shim, aside=shim.golden_index, to=shim.index, named=shim.twin)

    def swap(self, shim: UniqueShim, *, aside: str, to: str, named: str) -> None:
        """Rename ``aside`` to ``to`` and ``named`` to the golden name, in one transaction."""

        def work() -> None:
            for old, new in ((aside, to), (named, shim.golden_index)):
                self.session.execute(
                    sql.SQL("ALTER INDEX IF EXISTS {} RENAME TO {}").format(
                        sql.Identifier(old), sql.Identifier(new)
                    )
                )

        locks = (Wanted(shim.table, Mode.SHARE_UPDATE_EXCLUSIVE),)
        self.transaction(f"RENAME INDEX {aside}", locks, work)

    def drop_twin(self, shim: UniqueShim) -> None:
        """Drop the plain index that a revision which died, or went down, left beside the unique."""
        if catalog.index_state(self.session, shim.twin) is not None:
            self.drop_index(shim.table, shim.twin)

    def drop_index(self, table: str, name: str) -> None:
        """Drop an index if it is there."""
        if catalog.index_state(self.session, name) is not None:
            self.transaction(
                f"DROP INDEX {name}", (Wanted(table),), lambda: self._drop_index_here(name)
            )

    def _drop_index_here(self, name: str) -> None:
        self.run(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))

    def _alter(self, what: str, wanted: Wanted, statement: sql.Composed) -> None:
        self.transaction(what, (wanted,), lambda: self.run(statement))

    def run(self, statement: sql.Composable) -> None:
        """Run one statement in the caller's transaction."""
        self.session.execute(sql.Composed([statement]))

    def _started(self, what: str) -> None:
        self.emit(StatementStarted(step_id=self.step_id, what=what))

    def transaction(self, what: str, wanted: tuple[Wanted, ...], work: Callable[[], None]) -> None:
        """Run ``work`` under locks in one short transaction; inside the whole one, if we are."""
        self._started(what)
        if self.whole:
            work()
        else:
            self.door.through(wanted, work)
