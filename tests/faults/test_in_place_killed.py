"""``rollback --type data`` in place, killed at each phase: every row is there, and it goes on."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.commands.test_restore_equality import OWNED
from tests.conftest import DatabaseAt
from tests.faults.conftest import digests
from tests.faults.test_data_rollback import KEY, Place, configured

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_superuser("it makes the role that works, which owns the database")

PHASES = {
    "while it is restored elsewhere": (
        "opssight_migrate.backups.restore:Restoring.finish",
        "before",
        1,
    ),
    "within the schema": ("opssight_migrate.engine.unwinder:Unwinder.on_stamp", "after", 2),
    "while rows are copied": ("opssight_migrate.postgres.refill:_copied", "after", 5),
    "right before the commit": ("opssight_migrate.postgres.unfinished:supersede", "after", 1),
}
_OWNER = "ALTER DATABASE {} OWNER TO {}"


@pytest.fixture
def place(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Iterator[Place]:
    """A database that was migrated and changed after its backup, of a role without CREATEDB."""
    conninfo = database_at(START)
    session = opened(conninfo)
    role, name = f"app_{uuid4().hex[:8]}", sql.Identifier(session.connection.info.dbname)
    session.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    session.execute("SELECT set_config('test.owner', %s, false)", (role,))
    session.execute(OWNED)
    session.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(role)))
    session.execute(sql.SQL(_OWNER).format(name, sql.Identifier(role)))
    home = Path(tempfile.mkdtemp(prefix="opssight-test-", dir="/tmp"))
    home.chmod(0o755)
    made = configured(home, psycopg.conninfo.make_conninfo(conninfo, user=role), session)
    assert made.run("migrate", "--yes").returncode == 0
    session.execute("DELETE FROM team_memberships")
    yield made
    session.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(role)))
    session.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    shutil.rmtree(home)


def test_killed_at_any_phase_every_row_is_there_and_the_same_command_goes_on(place: Place) -> None:
    live, (_, databases, _, temporary) = digests(place.conninfo), place.looks()
    for name, fatal in PHASES.items():
        killed = place.back(place.backup, fatal=fatal)

        assert killed.returncode == -9, (name, killed.stderr)
        assert digests(place.conninfo) == live, name
        _, now, _, left = place.looks()
        assert (now, left) == (databases, temporary), name
    done = place.back(place.backup)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["revision"]["to"] == START
    after, now, kept, left = place.looks()
    assert after.rows["team_memberships"][0] > 0
    assert (now, left) == (databases, temporary)
    assert not [one for one in kept if one.startswith(".")]
    assert KEY.text not in done.stdout + done.stderr
