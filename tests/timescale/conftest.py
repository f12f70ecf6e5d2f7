"""OpsSight on a real TimescaleDB: one server a worker, one connection, emptied between tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.conftest import SettingsFor
from tests.timescale import wasm

from opssight_migrate.model.events import Emit, unheard
from opssight_migrate.opssight.revisions import AUDIT
from opssight_migrate.postgres import chain, indexes
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import NewTable
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings
from opssight_migrate.steps.base import StepContext

_ASIDE = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'opssight%'"
_ADDED = """
SELECT c.relname::text FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace
   AND c.relkind = 'r' AND c.relname <> ALL(%s)
"""
_SERIES = ("metrics", "log_entries")


class OneConnectionDdl(Ddl):
    """This server cannot build an index CONCURRENTLY: it has one connection."""

    def index(self, name: str, table: str, columns: object, *, unique: bool = False) -> None:
        """Build it all the same."""
        assert isinstance(columns, tuple | list)
        statement = indexes.statement(name, table, columns, unique=unique, online=False)
        indexes.ensure(self.session, self.door, name, statement, online=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneConnection(StepContext):
    """A step's context on such a server."""

    @property
    def ddl(self) -> Ddl:
        """DDL without CONCURRENTLY."""
        return OneConnectionDdl(
            self.session, self.door, emit=self.emit, step_id="test", pace=self.drive.pace
        )


ContextFor = Callable[..., OneConnection]


# xdist reads the marks in a hook of its own.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of this folder on one worker: the server takes 2 s and 500 MB."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("timescale"))


def _series_tables() -> tuple[NewTable, ...]:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(chain.script_location()))
    module = ScriptDirectory.from_config(config).get_revision("b521a10e8182").module
    return tuple(table for table in module.TABLES if table.name in _SERIES)


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a worker, with OpsSight at the end of its chain; ``tables`` are what it has."""

    session: Session
    tables: tuple[str, ...]
    series: tuple[NewTable, ...]

    def emptied(self) -> Session:
        """Take away what a test left, and make the two series anew."""
        session = self.session
        session.execute("DISCARD ALL")
        session.prepare()
        for (schema,) in session.rows(_ASIDE):
            session.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        added = [str(name) for (name,) in session.rows(_ADDED, (list(self.tables),))]
        for name in (*_SERIES, *added):
            place = sql.Identifier("public", name)
            session.execute(sql.SQL("DROP TABLE {} CASCADE").format(place))
        ddl = Ddl(session, Drive(session=session).door(), whole=True)
        for table in self.series:
            ddl.table(table)
        session.execute("TRUNCATE organizations, users, projects, clusters CASCADE")
        return session


def tables_in(session: Session) -> Server:
    """Take a server as it is for one to be emptied between tests."""
    tables = tuple(str(name) for (name,) in session.rows(_ADDED, ([],)))
    return Server(session, tables, _series_tables())


@contextmanager
def connected(served: wasm.Served) -> Iterator[Session]:
    """Open the one connection that such a server bears."""
    with psycopg.connect(served.conninfo, autocommit=True, prepare_threshold=None) as connection:
        session = Session(connection)
        session.prepare()
        yield session
    served.await_free()


@pytest.fixture(scope="session")
def opssight_data() -> Path:
    """OpsSight at 80bd6a3c3fa1, without a row or the extension: made once for each chain."""
    digest = hashlib.sha256()
    for file in sorted(chain.script_location().glob("versions/*.py")):
        digest.update(file.read_bytes())
    data = wasm.installed() / f"opssight-{digest.hexdigest()[:16]}.tar"
    if not data.is_file():
        with wasm.serving() as served:
            with connected(served) as session:
                chain.upgrade(Drive(session=session), AUDIT)
            served.save(data)
    return data


@pytest.fixture(scope="session")
def timescale_server(opssight_data: Path) -> Iterator[Server]:
    """A server with the extension, in a schema of its own."""
    with wasm.serving(opssight_data) as served, connected(served) as session:
        session.execute("CREATE SCHEMA timescale")
        session.execute("CREATE EXTENSION timescaledb SCHEMA timescale")
        yield tables_in(session)


@pytest.fixture
def timescale(timescale_server: Server) -> Session:
    """An OpsSight at 80bd6a3c3fa1 without a row, on a server with TimescaleDB."""
    return timescale_server.emptied()


@pytest.fixture
def context_for(timescale: Session, settings_for: SettingsFor) -> ContextFor:
    """Make a step's context, with a [time_series] of its own and a window."""

    def make(
        emit: Emit = unheard,
        window_s: float | None = None,
        defaults: dict[str, str] | None = None,
        **time_series: object,
    ) -> OneConnection:
        settings = settings_for("host=unused", time_series=time_series, defaults=defaults or {})
        return replace(context(timescale, settings, emit), window_s=window_s)

    return make


def context(session: Session, settings: Settings, emit: Emit = unheard) -> OneConnection:
    """Return the context of the default environment."""
    return OneConnection(
        session=session,
        profile=settings.profile(None),
        drive=Drive(session=session, emit=emit),
        emit=emit,
    )
