"""The revision chain: Alembic, driven over our own connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import SecretStr

from opssight_migrate.model.events import Emit, unheard
from opssight_migrate.postgres import failures
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.locks import DEFAULT_BUDGET_S, Door
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.receipts import DEFAULT_STALL_S
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.undoing import Undoing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext, MigrationInfo
    from sqlalchemy import Connection

_ATTRIBUTE = "opssight_migrate"
_Ddl = TypeVar("_Ddl", bound=Ddl)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """How the engine drives the chain; plain Alembic has the defaults.

    ``on_stamp`` is called with the revision inside the transaction that stamps it, or takes its
    stamp away, so that what it writes commits with the stamp. ``archive`` names the schema to
    which a downgrade may move rows; without one it refuses to take any. ``pace`` is called before
    each batch that is copied, and may wait for others; None: it does not.
    """

    session: Session
    organization: tuple[str, str] = ("Default Organization", "default")
    budget_s: float = DEFAULT_BUDGET_S
    emit: Emit = unheard
    pause_point: Callable[[], None] = lambda: None
    on_stamp: Callable[[str], None] = lambda _: None
    step_id: str = ""
    observer: Observer | None = None
    stall_budget_s: float = DEFAULT_STALL_S
    ends_sleepers: bool = False
    archive: str | None = None
    pace: Callable[[], None] | None = None

    def door(self) -> Door:
        """Return the door to strong locks for this run."""
        return Door(
            self.session,
            budget_s=self.budget_s,
            emit=self.emit,
            pause_point=self.pause_point,
            step_id=self.step_id,
            observer=self.observer,
            stall_budget_s=self.stall_budget_s,
            ends_sleepers=self.ends_sleepers,
        )


def script_location() -> Path:
    """Return the folder of the revisions: inside an installed wheel, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent.parent / "migrations"


def upgrade(drive: Drive, revision: str) -> None:
    """Bring the database to at least ``revision``; never downgrades.

    Raises: whatever a revision raises, and our translation of what the driver does.
    """
    from alembic import command

    with _driven(drive) as config:
        command.upgrade(config, revision)


def downgrade(drive: Drive, revision: str) -> None:
    """Take the database back to ``revision`` ("base": before the chain)."""
    from alembic import command

    with _driven(drive) as config:
        command.downgrade(config, revision)


def undo_unstamped(drive: Drive, revision: str) -> None:
    """Undo a revision that died before its stamp: Alembic's own downgrade would do nothing."""
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    with _driven(drive) as config:
        script = ScriptDirectory.from_config(config)

        def work(heads: object, context: MigrationContext) -> list[Any]:
            del heads
            with context.begin_transaction(_per_migration=True):
                script.get_revision(revision).module.downgrade()
                drive.on_stamp(revision)
            return []

        with EnvironmentContext(config, script, fn=work):
            script.run_env()


@contextmanager
def expanding() -> Iterator[Ddl]:
    """Give a revision's upgrade its DDL, outside Alembic's transaction.

    What a revision does commits piece by piece, each idempotent; Alembic's own transaction is
    left for the stamp alone.
    """
    with _outside_of_alembic() as drive:
        yield _ddl(Ddl, drive)


@contextmanager
def undoing(*, archives: bool = True) -> Iterator[Undoing]:
    """Give a revision's downgrade its DDL, likewise.

    One that ``archives`` nothing refuses rows even where there is an archive.
    """
    with _outside_of_alembic() as drive:
        ddl = _ddl(Undoing, drive)
        ddl.archive_name = drive.archive if archives else None
        yield ddl


@contextmanager
def _outside_of_alembic() -> Iterator[Drive]:
    from alembic import op

    context = op.get_context()
    drive = cast("Drive", (context.config and context.config.attributes[_ATTRIBUTE]))
    with context.autocommit_block():
        yield drive


def _ddl(kind: type[_Ddl], drive: Drive) -> _Ddl:
    return kind(
        drive.session,
        drive.door(),
        emit=drive.emit,
        step_id=drive.step_id,
        organization=drive.organization,
        pace=drive.pace,
    )


def run_environment(config: Config, url: str | None) -> None:
    """Be ``env.py``: run the revisions over the engine's connection, else over one to ``url``."""
    from alembic import context

    def on_version_apply(
        ctx: MigrationContext,
        step: MigrationInfo,
        heads: Collection[Any],
        run_args: Mapping[str, Any],
    ) -> None:
        del ctx, heads, run_args
        if step.up_revision_id is not None:
            config.attributes[_ATTRIBUTE].on_stamp(step.up_revision_id)

    def run(connection: Connection) -> None:
        context.configure(
            connection=connection,
            transaction_per_migration=True,
            on_version_apply=on_version_apply,
        )
        with context.begin_transaction():
            context.run_migrations()

    if _ATTRIBUTE in config.attributes:
        with _as_sqlalchemy(config.attributes[_ATTRIBUTE].session) as connection:
            run(connection)
        return
    with failures.told_by_alembic(), _plain(url) as session:
        config.attributes[_ATTRIBUTE] = Drive(session=session)
        with _as_sqlalchemy(session) as connection:
            run(connection)


@contextmanager
def _driven(drive: Drive) -> Iterator[Config]:
    from alembic.config import Config

    config = Config(stdout=StringIO())
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes[_ATTRIBUTE] = drive
    with failures.translated_from_alembic():
        yield config


@contextmanager
def _plain(url: str | None) -> Iterator[Session]:
    """Open a connection for plain Alembic; the advisory lock keeps it and our runs apart."""
    from opssight_migrate.postgres import connect, exclusive
    from opssight_migrate.settings import Environment, Project, Settings

    where = Environment() if url is None else Environment(url=SecretStr(url))
    project = Project(default_environment="alembic")
    profile = Settings(project=project, environments={"alembic": where}).profile("alembic")
    session = connect.opened(
        connect.conninfo_of(profile, env=os.environ), application_name="opssight-migrate/alembic"
    )
    try:
        exclusive.take(session, patience_s=0)
        yield session
    finally:
        session.close()


@contextmanager
def _as_sqlalchemy(session: Session) -> Iterator[Connection]:
    """Lend our connection to SQLAlchemy, which leaves BEGIN to the driver: so no autocommit."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    session.connection.autocommit = False
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: session.connection, poolclass=StaticPool
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        # Not engine.dispose(): that would close the connection, which is ours.
        if not session.connection.closed:
            session.connection.rollback()
            session.connection.autocommit = True
