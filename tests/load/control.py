"""The control: the published chain, made to work on rows, in one transaction as it was published.

Its locks are those of plain Alembic on the public revisions: NOT NULL columns with a constant
default that is dropped again, plain CREATE INDEX, the once-unique indexes dropped. What it takes
it holds to the end.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest.mock import patch

from psycopg import sql

from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import chain, organizations
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.new_table import NewTable
from opssight_migrate.postgres.session import Session

_STAMP = "UPDATE alembic_version SET version_num = %s"
_DEFAULTS = {"integer": sql.SQL("1"), "boolean": sql.SQL("true")}


class PlainDdl(Ddl):
    """The revisions' DDL with nothing done for those who work on the tables."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, Door(session), whole=True)

    def expand(self, work: Callable[[Ddl], None]) -> None:
        """Run ``work`` in the one transaction, whether there are rows or not."""
        work(self)

    def table(self, new: NewTable) -> None:
        """Create a table; the organization that the defaults point at comes with its own."""
        super().table(new)
        if new.name == "organizations":
            organizations.ensure_default_organization(self.session, *self.organization)

    def column(
        self,
        table: str,
        column: str,
        definition: sql.Composable,
        *,
        then: sql.Composable | None = None,
    ) -> None:
        """Add a column; NOT NULL gets a constant default, dropped at once."""
        kind, *constraint = definition.as_string(None).split(maxsplit=1)
        if constraint == ["NOT NULL"]:
            definition = sql.SQL("{} DEFAULT {}").format(definition, _DEFAULTS[kind])
            then = sql.SQL("DROP DEFAULT")
        super().column(table, column, definition, then=then)


def migrate(session: Session) -> None:
    """Take a database at the start to the chain's end in one transaction."""
    with session.writing():
        for revision in revisions.between(revisions.START, revisions.HEAD):
            with _plainly(session):
                _module(revision.id).upgrade()
        session.execute(_STAMP, (revisions.HEAD,))


@contextmanager
def _plainly(session: Session) -> Iterator[None]:
    @contextmanager
    def expanding() -> Iterator[Ddl]:
        yield PlainDdl(session)

    with patch.object(chain, "expanding", expanding):
        yield


def _module(revision: str) -> ModuleType:
    (path,) = (chain.script_location() / "versions").glob(f"{revision}_*.py")
    spec = importlib.util.spec_from_file_location(f"control_{revision}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
