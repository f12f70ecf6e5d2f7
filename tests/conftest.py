"""A disposable PostgreSQL of every major version that is here, and fresh databases on it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.faults import small_disk
from tests.homes import new_home

from opssight_migrate.backups import scratch
from opssight_migrate.opssight import sample
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.revisions import REVISIONS, START
from opssight_migrate.postgres import chain, sample_database
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.embedded import wheel_bin_dir
from opssight_migrate.postgres.installation import Installation
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Whoever starts the tests with & has SIGINT ignored, and every process of theirs inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


pytest_plugins = ["tests.least", "tests.migrated"]

# How much of the sample's quarter of a million rows the templates hold.
_SCALE = float(os.environ.get("OPSSIGHT_TEST_SCALE", "0.01"))

_SCRATCH = "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s)"


class NewDatabase(Protocol):
    """Create an empty database, or a copy of ``template``, and return its conninfo."""

    def __call__(self, template: str | None = None) -> str: ...


TemplateAt = Callable[[str, bool], str]


class DatabaseAt(Protocol):
    """Make a database at ``revision``, filled with the small sample or empty."""

    def __call__(self, revision: str, filled: bool = True) -> str: ...


class SettingsFor(Protocol):
    """Make settings for the database of ``conninfo``; other tables as in opssight.toml."""

    def __call__(self, conninfo: str, **tables: object) -> Settings: ...


TIMESCALE_URL = "OPSSIGHT_TEST_TIMESCALE_URL"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of tests that need a server which nobody can install here."""
    config.addinivalue_line("markers", f"needs_timescale: runs on the server of {TIMESCALE_URL}")
    config.addinivalue_line("markers", "needs_mount: mounts a file system in a namespace")
    config.addinivalue_line("markers", "needs_superuser(why): works as one where others must not")
    config.addinivalue_line("markers", "needs_further_grants(why): with what doctor notes, too")


def pytest_report_header() -> list[str]:
    """Say what is not run for want of such a server; xdist's controller collects nothing."""
    said: list[str] = []
    if not os.environ.get(TIMESCALE_URL):
        text = (Path(__file__).parent / "timescale" / "test_live.py").read_text()
        said.append(f"not run: {text.count('def test_')} tests that need {TIMESCALE_URL}")
    if not small_disk.is_possible(Path("/tmp")):
        said.append("not run: 1 test that fills a disk (needs root, or user namespaces)")
    return said


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect them where no server is named."""
    waiting: list[pytest.Item] = []
    if not os.environ.get(TIMESCALE_URL):
        waiting += [item for item in items if item.get_closest_marker("needs_timescale")]
    mounting = [item for item in items if item.get_closest_marker("needs_mount")]
    if mounting and not small_disk.is_possible(Path("/tmp")):
        waiting += mounting
    if waiting:
        config.hook.pytest_deselected(items=waiting)
        items[:] = [item for item in items if item not in waiting]


def _bin_dirs() -> dict[int, Path]:
    places = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return {Installation(place).major: place for place in [*places, wheel_bin_dir()]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a server on every version, but for modules that need the newest only.

    Those say ``ON_EVERY_SERVER = False``; OPSSIGHT_TEST_EVERY_SERVER=1 has the whole matrix.
    """
    if "server" not in metafunc.fixturenames:
        return
    found = [pytest.param(path, id=f"pg{major}") for major, path in sorted(_bin_dirs().items())]
    is_wanted = getattr(metafunc.module, "ON_EVERY_SERVER", True)
    if not (is_wanted or os.environ.get("OPSSIGHT_TEST_EVERY_SERVER")):
        found = found[-1:]
    metafunc.parametrize("server", found, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def shared_catalogues() -> Iterator[None]:
    """The golden catalogues are shared by all who read them, and nobody may change one."""
    yield
    for revision in REVISIONS:
        assert golden(revision.id) == golden.__wrapped__(revision.id), revision.id


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running server of this worker's own."""
    home = new_home("test")
    try:
        with Cluster(home, request.param, durable=False) as running:
            yield running
    finally:
        shutil.rmtree(home)


@pytest.fixture
def new_database(server: Cluster) -> Iterator[NewDatabase]:
    """Make databases that are dropped at the end of the test, whoever is still connected."""
    names: list[str] = []

    def create(template: str | None = None) -> str:
        name = f"test_{uuid4().hex[:12]}"
        copy_database(server, template or "template1", name)
        names.append(name)
        return server.conninfo(name)

    yield create
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        # A test that kills us leaves a scratch database, which is no business of the next one.
        left = connection.execute(_SCRATCH, (scratch.PREFIX,)).fetchall()
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        for name in [*names, *(name for (name,) in left)]:
            connection.execute(drop.format(sql.Identifier(name)))


@pytest.fixture
def session(new_database: NewDatabase) -> Iterator[Session]:
    """A prepared session on an empty database."""
    prepared = Session(psycopg.connect(new_database(), autocommit=True))
    try:
        prepared.prepare()
        yield prepared
    finally:
        prepared.close()


@pytest.fixture
def opened() -> Iterator[Callable[[str], Session]]:
    """Open prepared sessions that are closed at the end of the test."""
    with ExitStack() as stack:

        def open_one(conninfo: str) -> Session:
            prepared = Session(psycopg.connect(conninfo, autocommit=True))
            stack.callback(prepared.close)
            prepared.prepare()
            return prepared

        yield open_one


@pytest.fixture(scope="session")
def template_at(server: Cluster) -> TemplateAt:
    """Name a template database at a revision, made on first use by the real chain.

    ``filled``: with the sample, a hundredth of its size (OPSSIGHT_TEST_SCALE: of another). The data
    steps have run in none of them.
    """

    @cache
    def template(revision: str, filled: bool) -> str:
        name = f"template_{revision}_{'filled' if filled else 'empty'}"
        source = "template1"
        if revision != START:
            source = template(START, filled)
        elif filled:
            source = template(START, False)
        copy_database(server, source, name)
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            session = Session(connection)
            session.prepare()
            chain.upgrade(chain.Drive(session=session), revision)
            if revision == START and filled:
                sample_database.load(session, sample.USUAL.scaled(_SCALE))
        return name

    return template


@pytest.fixture
def at_start(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Session:
    """A session on an OpsSight at d8b40ecdc203 without a row."""
    return opened(database_at(START, filled=False))


@pytest.fixture
def populated(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Session:
    """A session on an OpsSight at d8b40ecdc203 with about 2,500 rows in its 22 tables."""
    return opened(database_at(START))


@pytest.fixture
def settings_for() -> SettingsFor:
    """Make settings whose default environment ``test`` is the database of a conninfo."""

    def make(conninfo: str, **tables: object) -> Settings:
        environments = {"test": {"url": conninfo}}
        fixed = {
            "project": {"default_environment": "test"},
            "environments": environments,
            # The rehearsals have tests of their own, on servers of their own.
            "old_release": {"rehearse": False},
            "verify": {"rehearse": False},
        }
        return Settings.model_validate({**fixed, **tables})

    return make


def run_on(server: Cluster, statement: sql.Composed) -> None:
    """Run one statement of the kind that no transaction may hold, such as CREATE DATABASE."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(statement)


def copy_database(server: Cluster, template: str, name: str) -> None:
    """Make a database with all that ``template`` holds, by the quickest road of the server."""
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    if server.major >= 15:
        copy += sql.SQL(" STRATEGY file_copy")
    run_on(server, copy)
