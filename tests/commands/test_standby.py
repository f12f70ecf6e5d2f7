"""A standby cannot be written to: it is refused, and can be looked at all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.commands.conftest import error_of, everything, run
from tests.conftest import SettingsFor
from tests.standby import standing_by

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.status import status
from opssight_migrate.commands.verify import verify
from opssight_migrate.model.events import unheard
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session


@pytest.fixture
def standby(server: Cluster) -> Iterator[str]:
    """A database at the start on a server that only replays another one."""
    with standing_by(server) as conninfo:
        yield conninfo


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
