"""The way down: what a downgrade takes out of ``public``, to an archive where one is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from opssight_migrate.opssight.shims import UniqueShim
from opssight_migrate.postgres import archive, catalog, column_values, following, loss, references
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.locks import Mode, Wanted

_REFERENCED = """
SELECT DISTINCT r.relname::text
  FROM pg_constraint AS c JOIN pg_class AS r ON r.oid = c.confrelid
 WHERE c.contype = 'f' AND c.conrelid = to_regclass('public.' || quote_ident(%(table)s))
   AND c.confrelid <> c.conrelid AND r.relnamespace = 'public'::regnamespace
   AND c.conname = coalesce(%(constraint)s::name, c.conname)
   AND (%(column)s::name IS NULL
        OR EXISTS (SELECT FROM pg_attribute AS a
                    WHERE a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
                      AND a.attname = %(column)s::name))
"""


class Undoing(Ddl):
    """DDL that takes away. ``archive_name`` None: nothing may go that holds rows or values."""

    archive_name: str | None = None

    def refuse(
        self,
        *,
        tables: Sequence[str] = (),
        columns: Sequence[tuple[str, str]] = (),
        enums: Iterable[str] = (),
    ) -> None:
        """Refuse to go on where somebody else's object stands on what goes, or rows would be lost.

        Raises: RefusedError naming the objects; RowsWouldBeLostError without an archive.
        """
        if self.archive_name is None:
            loss.refuse(self.session, tables=tables, columns=columns, enums=enums)
        else:
            loss.refuse_dependents(self.session, tables=tables, columns=columns, enums=enums)

    def refuse_values(self, table: str, column: str) -> None:
        """Refuse to drop a column with values in it, unless an archive takes them.

        Raises: RowsWouldBeLostError with the number of these rows.
        """
        if self.archive_name is None:
            loss.refuse_values(self.session, table, column)

    def restore_unique(self, shim: UniqueShim) -> None:
        """Give the unique index its name back, or build it where no shim stands any more."""
        state = catalog.index_state(self.session, shim.golden_index)
        if state is not None and state.unique:
            self.drop_twin(shim)
            return
        # A half-built one of a downgrade that died is built again here.
        self.index(shim.index, shim.table, (shim.column,), unique=True)
        self.swap(shim, aside=shim.golden_index, to=shim.twin, named=shim.index)
        self.drop_twin(shim)

    def drop_constraint(self, table: str, name: str) -> None:
        """Drop a constraint if it is there; a foreign key's other table is locked too."""
        if catalog.constraint_state(self.session, table, name) is not None:
            self.transaction(
                f"DROP CONSTRAINT {name}",
                (Wanted(table), *self._referenced_by(table, constraint=name)),
                lambda: self.run(
                    sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
                        sql.Identifier(table), sql.Identifier(name)
                    )
                ),
            )

    def drop_column(self, table: str, column: str) -> None:
        """Drop a column if it is there, with the indexes and foreign key that stand on it.

        Values that an upgrade does not give by itself go to the archive: nearly all of them
        before the lock, the last under it.
        """
        if catalog.column_state(self.session, table, column) is None:
            return
        into = self.archive_name
        usual = column_values.usual_by_upgrade(self.session, table, column, self.organization)
        followed = into is not None and self._copy_values(into, table, column, usual)

        def work() -> None:
            if into is not None and followed:
                following.end(self.session, into, table, column)
            elif into is not None:
                column_values.keep(self.session, into, table, column, usual)
            self.run(
                sql.SQL("ALTER TABLE {} DROP COLUMN IF EXISTS {}").format(
                    sql.Identifier(table), sql.Identifier(column)
                )
            )

        others = self._referenced_by(table, column=column)
        self.transaction(f"DROP COLUMN {table}.{column}", (Wanted(table), *others), work)

    def _copy_values(self, into: str, table: str, column: str, usual: object | None) -> bool:
        """Copy values while others write; return whether a trigger keeps the copy true."""
        if not following.follows(self.session, table):
            if not following.is_worth_it(self.session, table, column, usual):
                if column_values.is_behind(self.session, into, table, column, usual):
                    with self.session.writing():
                        column_values.keep(self.session, into, table, column, usual)
                return False

            def begin() -> None:
                column_values.prepare(self.session, into, table, column, usual)
                following.begin(self.session, into, table, column, usual)

            locks = (Wanted(table, Mode.SHARE_ROW_EXCLUSIVE),)
            self.transaction(f"CREATE TRIGGER on {table}", locks, begin)
        following.copy(self.session, into, table, column, usual, self.door.pause_point)
        return True

    def drop_table(self, name: str) -> None:
        """Take a table away if it is there: drop it without rows, else archive it.

        Whether it has rows is looked at again under the lock.

        Raises: RowsWouldBeLostError without an archive.
        """
        if not catalog.relation_exists(self.session, name):
            return
        into = self.archive_name
        if into is not None and catalog.table_is_empty(self.session, name):
            # One by one, so that no other table is locked while the indexes are being dropped.
            for key in references.of_table(self.session, name):
                self.drop_constraint(name, key.name)

        def work() -> None:
            if catalog.table_is_empty(self.session, name):
                archive.let_go_of(self.session, name)
                self.run(sql.SQL("DROP TABLE {}").format(sql.Identifier("public", name)))
            elif into is None:
                raise loss.of_rows({name: catalog.rows_exact(self.session, name)})
            else:
                archive.keep_table(self.session, into, name)

        self.transaction(f"DROP TABLE {name}", (Wanted(name), *self._referenced_by(name)), work)

    def drop_enum(self, name: str) -> None:
        """Take an enum type away if it is there; with the archive where its tables use it."""
        if catalog.enum_labels(self.session, name) is None:
            return
        into = self.archive_name

        def work() -> None:
            if into is not None and archive.type_is_used(self.session, name):
                archive.keep_type(self.session, into, name)
            else:
                self.run(sql.SQL("DROP TYPE IF EXISTS {}").format(sql.Identifier("public", name)))

        self.transaction(f"DROP TYPE {name}", (), work)

    def _referenced_by(
        self, table: str, *, constraint: str | None = None, column: str | None = None
    ) -> tuple[Wanted, ...]:
        """Dropping a foreign key takes its triggers off the other table, under a strong lock.

        Only the foreign key of that name, or those that stand on that column, where one is given.
        """
        asked = {"table": table, "constraint": constraint, "column": column}
        return tuple(Wanted(name) for (name,) in self.session.rows(_REFERENCED, asked))
