"""A standby cannot be written to: it is refused, and can be looked at all the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import psycopg
import pytest
from tests.commands.conftest import error_of, everything, run
from tests.conftest import SettingsFor
from tests.homes import new_home

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.status import status
from opssight_migrate.commands.verify import verify
from opssight_migrate.model.events import unheard
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import chain
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session


@pytest.fixture
def standby(server: Cluster) -> Iterator[str]:
    """A server in recovery, started with standby.signal on the data of one that was stopped."""
    home = new_home("standby")
    try:
        with Cluster(home, server.bin_dir, durable=False) as primary:
            conninfo = primary.conninfo("postgres")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                session = Session(connection)
                session.prepare()
                chain.upgrade(chain.Drive(session=session), START)
        (home / "data" / "standby.signal").touch(mode=0o644)
        settings = {"restore_command": "false"}
        with Cluster(home, server.bin_dir, durable=False, settings=settings) as replica:
            yield replica.conninfo("postgres")
    finally:
        shutil.rmtree(home)


def test_a_standby_is_refused_with_and_without_dry_run_and_can_be_read(
    standby: str, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    session = opened(standby)
    settings = settings_for(standby)
    before = everything(session)

    reports = [run(settings), run(settings, MigrateRequest(dry_run=True))]
    seen = status(settings, settings.profile(None), emit=unheard)
    verified = verify(settings, settings.profile(None), emit=unheard)

    assert session.scalar("SELECT pg_is_in_recovery()") is True
    for report in reports:
        assert (report.exit_code, error_of(report)[0]) == (7, "OM304")
        assert "is a standby" in error_of(report)[1]
    assert seen.exit_code == 0
    assert [diagnostic.code for diagnostic in seen.diagnostics] == ["OM310", "OM304"]
    assert seen.revision is not None
    assert seen.revision.from_ == START
    assert verified.exit_code == 0
    assert everything(session) == before
