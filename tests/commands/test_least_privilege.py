"""Each verb works with exactly the grants that doctor prints, and is refused without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.commands.conftest import error_of, run
from tests.commands.test_privileges import make_owner, obey
from tests.conftest import DatabaseAt, SettingsFor, run_on
from tests.least import as_superuser, grants_of

from opssight_migrate.commands import backup
from opssight_migrate.commands.cleanup import CleanupRequest, cleanup
from opssight_migrate.commands.doctor import doctor
from opssight_migrate.commands.history import history
from opssight_migrate.commands.rollback import RollbackRequest, rollback
from opssight_migrate.commands.status import status
from opssight_migrate.commands.verify import VerifyRequest, verify
from opssight_migrate.model.events import unheard
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]


@pytest.fixture
def roles(server: Cluster) -> Iterator[tuple[str, str]]:
    """Two roles that may log in: one to own the tables, one to work; ask for them first."""
    names = (f"owner_{uuid4().hex[:8]}", f"worker_{uuid4().hex[:8]}")
    for name in names:
        run_on(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield names
    for name in names:
        run_on(server, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def closed_to_all(session: Session, owner: str) -> None:
    """Give the tables to ``owner``, and nothing to anybody else."""
    session.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    make_owner(session, owner)


def undone(grant: str) -> str:
    """Return what takes a grant away again."""
    return grant.replace("GRANT", "REVOKE", 1).replace(" TO ", " FROM ")


def looks(settings: Settings) -> dict[str, Report]:
    """Run each verb that only looks, and a backup, which does no more in the database."""
    profile = settings.profile(None)
    fixed = VerifyRequest(categories=("schema", "integrity", "tenancy", "rbac", "audit"))
    return {
        "status": status(settings, profile, emit=unheard),
        "verify": verify(settings, profile, fixed, emit=unheard),
        "history": history(profile, run_id=None, limit=9, emit=unheard),
        "backup create": backup.create(settings, profile, proves=False, emit=unheard),
    }


def settings_of(conninfo: str, worker: str, settings_for: SettingsFor, tmp_path: Path) -> Settings:
    """Return the settings of the worker, who makes backups too."""
    shelf = str(tmp_path / "shelf")
    keys = {"url": make_conninfo(conninfo, user=worker), "backup_dir": shelf, "backup_plain": True}
    return settings_for("", environments={"test": keys})


def test_a_verb_that_writes_needs_what_doctor_prints_and_all_of_it(
    roles: tuple[str, str],
    database_at: DatabaseAt,
    opened: Opened,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    owner, worker = roles
    conninfo = database_at(START)
    session = opened(conninfo)
    closed_to_all(session, owner)
    settings = settings_of(conninfo, worker, settings_for, tmp_path)
    profile = settings.profile(None)
    grants = grants_of(doctor(settings, profile, log_dir=tmp_path, emit=unheard))
    for grant in grants:
        session.execute(sql.SQL(grant))
    needed = [grant for grant in grants if not grant.startswith(("GRANT SELECT ", "GRANT USAGE"))]
    assert len(needed) == 2  # to make the journal, and to be a member of the owner

    for grant in needed:
        session.execute(sql.SQL(undone(grant)))
        refused = run(settings)
        assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303"), grant
        obey(session, refused.diagnostics[0].hint)
    assert run(settings).exit_code == 0
    looked = looks(settings)
    assert {name: one.exit_code for name, one in looked.items()} == dict.fromkeys(looked, 0)

    back = RollbackRequest(to_revision=START)
    shims = CleanupRequest(kinds=("shims",), release_is_gone=True)
    session.execute(sql.SQL(undone(needed[0])))  # an archive needs a schema
    refused = rollback(settings, profile, back, confirm=agreed, emit=unheard)
    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303")
    session.execute(sql.SQL(needed[0]))
    session.execute(sql.SQL(undone(needed[1])))
    for refused in (
        rollback(settings, profile, back, confirm=agreed, emit=unheard),
        cleanup(settings, profile, shims, confirm=agreed, emit=unheard),
    ):
        assert (refused.exit_code, error_of(refused)[0]) == (7, "OM303")
    session.execute(sql.SQL(needed[1]))
    assert cleanup(settings, profile, shims, confirm=agreed, emit=unheard).exit_code == 0
    assert rollback(settings, profile, back, confirm=agreed, emit=unheard).exit_code == 0


def test_a_verb_that_looks_needs_what_its_refusal_prints_and_all_of_it(
    roles: tuple[str, str],
    database_at: DatabaseAt,
    opened: Opened,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    owner, worker = roles
    conninfo = as_superuser(database_at(START))  # a journal that is somebody else's
    session = opened(conninfo)
    assert run(settings_for(conninfo)).exit_code == 0
    closed_to_all(session, owner)
    settings = settings_of(conninfo, worker, settings_for, tmp_path)

    refused = looks(settings)
    hints = {one.diagnostics[0].hint or "" for one in refused.values()}
    assert {one.exit_code for one in refused.values()} == {7}
    grants = [f"{one.strip()};" for hint in hints for one in hint.split(";") if one.strip()]
    assert len(hints) == 1
    assert any(grant.startswith("GRANT SELECT ON SEQUENCE") for grant in grants)
    for grant in grants:
        session.execute(sql.SQL(grant))
    looked = looks(settings)
    assert {name: one.exit_code for name, one in looked.items()} == dict.fromkeys(looked, 0)
    for grant in grants:
        session.execute(sql.SQL(undone(grant)))
        for verb, again in looks(settings).items():
            assert (again.exit_code, error_of(again)[0]) == (7, "OM303"), verb
            assert again.diagnostics[0].hint == grant
        session.execute(sql.SQL(grant))


def agreed(*_: object) -> None:
    """Agree to every plan."""
