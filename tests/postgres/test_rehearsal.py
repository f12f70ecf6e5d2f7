"""The rehearsal: what breaks is named, what goes on is not, and nobody's database is written to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.conftest import SettingsFor
from tests.homes import new_home

from opssight_migrate.commands.rehearsal import CHECK_ID, rehearse_old_release
from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.model.events import Event, Noted
from opssight_migrate.model.plan import Severity
from opssight_migrate.opssight import old_release, revisions
from opssight_migrate.opssight.old_release import Statement
from opssight_migrate.opssight.shims import DEFAULTS, ONCE_UNIQUE
from opssight_migrate.postgres import embedded, rehearsal
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

AFTER_RBAC = (revisions.RBAC, revisions.TARGET, revisions.HEAD)
LEFT = r"""
SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'opssight\_rehearsal\_%')
     + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'opssight\_rehearsal\_%')
"""

AT_WORK = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'opssight-migrate/rehearsal'
"""

Scratch = Callable[[str, bool], Session]
DatabaseAt = Callable[..., str]
Open = Callable[[str], Session]


def statement(text: str, id_: str = "mine") -> Statement:
    return Statement(id=id_, sql=text, purpose="a test")


def left_behind(server: Cluster) -> int:
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        row = connection.execute(LEFT).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def scratch(server: Cluster) -> Iterator[Scratch]:
    """Make scratch databases that are dropped at the end of the test."""
    with ExitStack() as stack:
        yield lambda revision, with_shims: stack.enter_context(
            rehearsal.scratch(server, revision, with_shims=with_shims)
        )


@pytest.fixture
def at_home(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's server be the product's own."""
    monkeypatch.setattr(
        embedded, "default_cluster", lambda: Cluster(server.home, server.bin_dir, durable=False)
    )


def expected_without_shims() -> set[str]:
    """Name what needs a shim, by the tables and columns that have one."""
    inserts = {f"insert-{shim.table}{kind}" for shim in DEFAULTS for kind in ("", "-required")}
    upserts = {f"upsert-{shim.table}-by-{shim.column}" for shim in ONCE_UNIQUE}
    written = {
        "sign-up-or-log-in", "sign-up-by-email", "seed-role", "seed-permission", "sync-cluster",
        "sync-aws-account",
    }  # fmt: skip
    return {name.replace("_", "-") for name in inserts | upserts} | written


def test_all_shipped_statements_work_at_the_start(scratch: Scratch) -> None:
    session = scratch(revisions.START, True)
    assert rehearsal.rehearse(session, old_release.statements()) == ()


def test_with_shims_nothing_breaks_but_the_deletion_of_an_assigned_user(scratch: Scratch) -> None:
    before_assignments = scratch(revisions.MULTI_TENANCY, True)
    assert rehearsal.rehearse(before_assignments, old_release.statements()) == ()
    for revision in AFTER_RBAC:
        broken = rehearsal.rehearse(scratch(revision, True), old_release.statements())
        assert [(b.statement.id, b.sqlstate, b.severity) for b in broken] == [
            ("delete-users-by-key", "23503", Severity.WARN)
        ]


@pytest.mark.parametrize("revision", [revisions.TARGET, revisions.HEAD])
def test_without_shims_exactly_what_needs_one_breaks(scratch: Scratch, revision: str) -> None:
    broken = rehearsal.rehearse(scratch(revision, False), old_release.statements())
    failed = {b.statement.id: b.sqlstate for b in broken if b.severity is Severity.FAIL}
    assert failed.keys() == expected_without_shims()
    assert failed["insert-users"] == "23502"
    assert failed["upsert-users-by-email"] == "42P10"
    assert failed["seed-role"] == "42P10"
    assert {b.statement.id for b in broken} - failed.keys() == {"delete-users-by-key"}


def test_an_insert_without_its_default_breaks_though_prepare_takes_it(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    insert = next(s for s in old_release.statements() if s.id == "insert-users-required")
    assert rehearsal.rehearse(session, [insert]) == ()
    session.execute("ALTER TABLE users ALTER COLUMN organization_id DROP DEFAULT")
    session.execute(
        "PREPARE by_hand AS INSERT INTO users (github_id, github_username, is_active, is_superuser)"
        " VALUES ($1, $2, $3, $4)"
    )
    (broken,) = rehearsal.rehearse(session, [insert])
    assert broken.sqlstate == "23502"
    assert 'null value in column "organization_id"' in broken.message


def test_an_upsert_without_its_index_breaks_though_prepare_takes_it(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    upsert = next(s for s in old_release.statements() if s.id == "sign-up-by-email")
    assert rehearsal.rehearse(session, [upsert]) == ()
    session.execute("DROP INDEX ix_users_email_once_unique")
    session.execute(
        "PREPARE by_hand AS INSERT INTO users (github_id, github_username, email, is_active,"
        " is_superuser) VALUES ($1, $2, $3, true, false) ON CONFLICT (email) DO NOTHING"
    )
    (broken,) = rehearsal.rehearse(session, [upsert])
    assert broken.sqlstate == "42P10"


def test_a_read_that_names_what_is_gone_breaks(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    broken = rehearsal.rehearse(session, [statement("SELECT nickname FROM users WHERE id = $1")])
    assert [b.sqlstate for b in broken] == ["42703"]


def test_what_is_carried_out_is_rolled_back(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    hidden = statement(
        "WITH gone AS (DELETE FROM user_roles RETURNING id) SELECT count(*) FROM gone"
    )
    assert rehearsal.rehearse(session, [hidden, statement("DELETE FROM roles")]) == ()
    rehearsal.rehearse(session, old_release.statements())
    counts = [
        session.scalar(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        for table in ("roles", "users", "user_roles", "teams", "alerts")
    ]
    assert counts == [1, 1, 1, 0, 0]


def test_equal_sample_values_are_not_taken_for_a_break(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    with_id = statement(
        "INSERT INTO users (id, github_id, github_username, is_active, is_superuser)"
        " VALUES ($1, $2, $3, $4, $5)"
    )
    two_rows = statement(
        "INSERT INTO roles (name, display_name, is_active, is_default, priority)"
        " VALUES ($1, $2, $3, $4, $5), ($6, $7, $8, $9, $10)"
        " ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name"
    )
    assert rehearsal.rehearse(session, [with_id, two_rows]) == ()


def test_a_statement_from_elsewhere_cannot_reach_the_server_s_files(scratch: Scratch) -> None:
    session = scratch(revisions.TARGET, True)
    (broken,) = rehearsal.rehearse(
        session,
        [statement("UPDATE users SET bio = pg_read_file($1)")],
    )
    assert broken.sqlstate == "42501"


def test_a_statement_that_does_not_end_is_stopped(scratch: Scratch) -> None:
    session = scratch(revisions.START, True)
    session.execute("SET statement_timeout = '100ms'")
    slow = statement("UPDATE users SET bio = (SELECT 'x' FROM pg_sleep(60))")
    assert [b.sqlstate for b in rehearsal.rehearse(session, [slow])] == ["57014"]


def test_nothing_is_left_on_the_server(server: Cluster) -> None:
    def interrupted() -> None:
        with rehearsal.scratch(server, revisions.START, with_shims=True) as session:
            rehearsal.rehearse(session, old_release.statements())
            assert left_behind(server) == 2, "a database and its owner"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left_behind(server) == 0


def test_what_a_killed_rehearsal_left_goes_at_the_next(server: Cluster) -> None:
    # The victim takes no share in the server: its watcher would outlive this test.
    code = (
        "import sys, time; from pathlib import Path\n"
        "from opssight_migrate.postgres import rehearsal\n"
        "from opssight_migrate.postgres.cluster import Cluster\n"
        "cluster = Cluster(Path(sys.argv[1]), Path(sys.argv[2]), durable=False)\n"
        "with rehearsal.scratch(cluster, 'd8b40ecdc203', with_shims=False):\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(server.home), os.fspath(server.bin_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        with rehearsal.scratch(server, revisions.START, with_shims=False):
            assert left_behind(server) == 4, "the one at work is left alone"
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    _await_its_end(server)
    assert left_behind(server) == 2
    with rehearsal.scratch(server, revisions.START, with_shims=False):
        assert left_behind(server) == 2, "its own two, for the others were dropped"
    assert left_behind(server) == 0


def _await_its_end(server: Cluster) -> None:
    """Wait until the server has noticed that its client is gone."""
    until = time.monotonic() + 20
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        while connection.execute(AT_WORK).fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_without_the_extension_nobody_counted(populated: Session) -> None:
    seen = rehearsal.from_statistics(populated)
    assert seen.statements is None
    assert "not installed" in seen.sentence


@pytest.fixture(scope="session")
def counting(server: Cluster) -> Iterator[Cluster]:
    """A server that loads pg_stat_statements."""
    home = new_home("test")
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    try:
        with Cluster(home, server.bin_dir, durable=False, settings=settings) as running:
            yield running
    finally:
        shutil.rmtree(home)


def test_the_statistics_give_queries_on_our_tables(counting: Cluster, opened: Open) -> None:
    with rehearsal.scratch(counting, revisions.START, with_shims=True) as owner:
        name = owner.scalar("SELECT current_database()")
        session = opened(counting.conninfo(name))
        session.execute("CREATE SCHEMA counted")
        session.execute("CREATE EXTENSION pg_stat_statements SCHEMA counted")
        for number in range(3):
            session.rows(
                sql.SQL("/* app */ SELECT bio FROM users WHERE id = {}").format(sql.Literal(number))
            )
        session.execute(
            "INSERT INTO users (github_id, github_username, is_active, is_superuser)"
            " VALUES ('a', 'b', true, false)"
        )
        session.execute("ANALYZE users")
        session.rows("SELECT relname FROM pg_class")
        session.execute("SET default_transaction_read_only = on")
        seen = rehearsal.from_statistics(session)
        assert seen.statements is not None
        calls = {s.sql.removeprefix("/* app */ "): s.calls for s in seen.statements}
        assert calls["SELECT bio FROM users WHERE id = $1"] == 3
        assert not [text for text in calls if "ANALYZE" in text or "FROM pg_class" in text]
        mine = [s for s in seen.statements if "(github_id, github_username, is_active" in s.sql]
        assert len(mine) == 1
        assert rehearsal.rehearse(owner, mine) == ()

        refused = rehearsal.from_statistics(owner)
        assert (refused.statements, refused.unread) == (None, 0)
        assert "permission denied" in refused.sentence
        session.execute("SET default_transaction_read_only = off")
        session.execute("GRANT USAGE ON SCHEMA counted TO public")
        hidden = rehearsal.from_statistics(owner)
        assert hidden.unread > 2
        assert "pg_read_all_stats" in hidden.sentence


def test_the_verb_s_part_names_only_what_would_break(
    at_home: None,
    server: Cluster,
    database_at: DatabaseAt,
    opened: Open,
    settings_for: SettingsFor,
    tmp_path: Path,
) -> None:
    conninfo = database_at(revisions.START)
    session = opened(conninfo)
    session.execute("SET default_transaction_read_only = on")  # the operator's: only reads
    extra = tmp_path / "extra.sql"
    extra.write_text(
        "SELECT * FROM users;\nSELECT nothing FROM nowhere;\nDELETE FROM users WHERE id = :id;\n"
        "CREATE TABLE organizations ();\nUPDATE users SET bio = :bio WHERE id = :id",
        encoding="utf-8",
    )
    settings = settings_for(conninfo, old_release={"statements": str(extra)})
    heard: list[Event] = []
    found = rehearse_old_release(settings.profile("test"), session, revisions.TARGET, heard.append)
    assert [(f.severity, f.where, f.keys) for f in found] == [
        (Severity.WARN, "delete-users-by-key", ()),
        (Severity.WARN, "extra.sql:3", ()),
        (Severity.NOTE, None, ("extra.sql:2", "extra.sql:4")),
        (Severity.NOTE, None, ("extra.sql:1",)),
    ]
    assert {f.check_id for f in found} == {CHECK_ID}
    assert [type(event) for event in heard] == [Noted]
    assert left_behind(server) == 0


def test_the_verb_s_part_names_what_a_cleanup_would_break(
    at_home: None, database_at: DatabaseAt, opened: Open, settings_for: SettingsFor
) -> None:
    conninfo = database_at(revisions.TARGET)
    found = rehearse_old_release(
        settings_for(conninfo, old_release={}).profile("test"),
        opened(conninfo),
        revisions.TARGET,
        lambda _: None,
        with_shims=False,
    )
    failing = {finding.where for finding in found if finding.severity is Severity.FAIL}
    assert failing == expected_without_shims()


@pytest.mark.parametrize(
    ("revision", "filled"),
    [(revisions.START, False), (revisions.TARGET, True), (revisions.MULTI_TENANCY, False)],
)
def test_where_no_old_release_works_nothing_is_tried(
    revision: str,
    filled: bool,
    database_at: DatabaseAt,
    opened: Open,
    settings_for: SettingsFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "default_cluster", _not_to_be_asked)
    conninfo = database_at(revision, filled)
    profile = settings_for(conninfo, old_release={}).profile("test")
    target = revisions.TARGET
    assert rehearse_old_release(profile, opened(conninfo), target, _not_to_be_heard) == ()


def test_without_the_embedded_server_it_says_so_and_goes_on(
    populated: Session, settings_for: SettingsFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_WHEEL", "no_such_wheel")
    profile: Profile = settings_for("host=nowhere dbname=x", old_release={}).profile("test")
    [found] = rehearse_old_release(profile, populated, revisions.TARGET, _not_to_be_heard)
    assert (found.severity, "not rehearsed" in found.message) == (Severity.WARN, True)
    assert found.hint is not None
    assert found.hint.startswith("pip install 'opssight-migrate[embedded]', or ")


def _not_to_be_asked() -> Cluster:
    raise EmbeddedServerError("the embedded server was started for nothing")


def _not_to_be_heard(event: Event) -> None:
    raise AssertionError(event)
