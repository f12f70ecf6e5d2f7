"""``cleanup``: a plan first, a floor that stays, and every retired thing in the audit log."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.chain.looks import catalogue_text, golden_text
from tests.commands.conftest import Asked, error_of, everything, run
from tests.commands.test_rollback import go_back
from tests.conftest import DatabaseAt, SettingsFor, run_on
from tests.least import FURTHER, OWNER

from opssight_migrate.backups import creation, scratch
from opssight_migrate.backups.creation import Order
from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.commands import old_logs
from opssight_migrate.commands.cleanup import CleanupRequest, cleanup
from opssight_migrate.commands.rollback import RollbackRequest
from opssight_migrate.engine import retirement
from opssight_migrate.model.errors import InterruptedRunError, NotConfirmedError
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight import sample
from opssight_migrate.opssight.revisions import RBAC, START, TARGET
from opssight_migrate.postgres import (
    archive,
    chain,
    properties,
    rehearsal,
    sample_database,
    shim_use,
)
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings
from opssight_migrate.settings.tables import Cleanup

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_AT_ONCE = timedelta(microseconds=1)
_AGE_RUNS = """
UPDATE opssight_migrate.runs SET finished_at = finished_at - interval '90 days'
"""


def clean(
    settings: Settings,
    *kinds: str,
    dry_run: bool = False,
    older_than: timedelta | None = None,
    keep_last: int | None = None,
    release_is_gone: bool = False,
    log_dir: Path | None = None,
    confirm: Callable[[Plan, bool], None] | None = None,
) -> Report:
    """Run ``cleanup`` on the default environment, and say yes."""
    return cleanup(
        settings,
        settings.profile(None),
        CleanupRequest(
            kinds=kinds,
            dry_run=dry_run,
            older_than=older_than,
            keep_last=keep_last,
            release_is_gone=release_is_gone,
            log_dir=log_dir,
        ),
        confirm=confirm or Asked(),
        emit=unheard,
    )


def create_for(server: Cluster, name: str, role: str) -> None:
    """Create a database that belongs to ``role``."""
    statement = sql.SQL("CREATE DATABASE {} OWNER {}")
    run_on(server, statement.format(sql.Identifier(name), sql.Identifier(role)))


@pytest.fixture
def migrated(
    migrated_database: Callable[[], str],
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
) -> tuple[Settings, Session]:
    """A populated database that ``migrate`` took from the start to the target."""
    conninfo = migrated_database()
    return settings_for(conninfo), opened(conninfo)


def test_without_the_shims_the_catalogue_is_the_published_one_byte_for_byte(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated

    planned = clean(settings, "shims", release_is_gone=True, dry_run=True)
    assert planned.announcements == ()
    assert "--shims --confirm old-release-is-gone" in planned.next[0].command
    assert len(planned.steps) == 18
    report = clean(settings, "shims", release_is_gone=True)

    assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
    assert catalogue_text(session) == golden_text(TARGET)
    assert report.shims == ()
    assert {step.kind for step in report.steps} == {"retire"}
    assert {lock.mode for step in report.steps for lock in step.locks} == {"ACCESS EXCLUSIVE"}
    kept = "SELECT count(DISTINCT step_id) FROM opssight_migrate.lock_receipts WHERE run_id = %s"
    assert session.scalar(kept, (report.run_id,)) == 18
    audited = session.scalar(
        "SELECT count(*) FROM audit_logs WHERE operation = 'DELETE' AND description LIKE 'retired%'"
    )
    assert audited == 18
    assert clean(settings, "shims").status == "nothing_to_do"
    # The way back is longer, and still there.
    assert go_back(settings, RollbackRequest(to_revision=START)).status == "ok"
    assert catalogue_text(session) == golden_text(START)


def test_where_nobody_counts_statements_the_shims_stay_until_somebody_says_so(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    before = everything(session)

    report = clean(settings, "shims")

    assert report.exit_code == 7
    assert "nobody can tell" in error_of(report)[1]
    [hint] = [one.hint for one in report.diagnostics if one.severity == "error"]
    assert hint == "opssight-migrate cleanup --shims --confirm old-release-is-gone"
    assert everything(session) == before


@pytest.fixture
def counting() -> Iterator[Cluster]:
    """A server that loads pg_stat_statements."""
    from opssight_migrate.postgres.embedded import wheel_bin_dir

    settings = {"shared_preload_libraries": "pg_stat_statements"}
    with (
        tempfile.TemporaryDirectory(prefix="opssight-test-", dir="/tmp") as home,
        Cluster(Path(home), wheel_bin_dir(), durable=False, settings=settings) as running,
    ):
        yield running


def test_while_the_old_release_is_seen_the_shims_stay(
    counting: Cluster, settings_for: SettingsFor, opened: Callable[[str], Session]
) -> None:
    run_on(counting, sql.SQL("CREATE DATABASE {}").format(sql.Identifier("counted")))
    conninfo = counting.conninfo("counted")
    session, settings = opened(conninfo), settings_for(conninfo)
    chain.upgrade(chain.Drive(session=session), START)
    sample_database.load(session, sample.USUAL.scaled(0.01))
    session.execute("CREATE EXTENSION pg_stat_statements")
    assert run(settings).status == "ok"
    session.execute("SELECT pg_stat_statements_reset()")
    session.execute(
        "INSERT INTO teams (name, slug, is_active, max_members, default_role, created_by_user_id)"
        " SELECT 'old', 'old', true, 5, 'MEMBER', min(id) FROM users ON CONFLICT (name) DO NOTHING"
    )

    # Saying that it is gone does not help against having seen it.
    report = clean(settings, "shims", release_is_gone=True)

    assert report.exit_code == 7
    said = " ".join(one.message for one in report.diagnostics)
    assert "needs default of teams.organization_id, called 1 times" in said
    assert "needs unique index ix_teams_name_once_unique" in said
    session.execute("SELECT pg_stat_statements_reset()")
    session.execute(
        "INSERT INTO teams (name, slug, is_active, max_members, default_role, created_by_user_id,"
        "       organization_id)"
        " SELECT 'new', 'new', true, 5, 'MEMBER', min(u.id), min(o.id)"
        "   FROM users AS u, organizations AS o"
    )
    assert clean(settings, "shims").status == "ok"
    assert catalogue_text(session) == golden_text(TARGET)


def test_statements_that_nobody_counts_are_not_taken_for_none(
    counting: Cluster, opened: Callable[[str], Session]
) -> None:
    run_on(counting, sql.SQL("CREATE DATABASE {}").format(sql.Identifier("uncounted")))
    session = opened(counting.conninfo("uncounted"))
    session.execute("CREATE EXTENSION pg_stat_statements")
    standing = frozenset({"default of teams.organization_id"})
    assert shim_use.observed(session, standing) is not None

    session.execute("SET pg_stat_statements.track = 'none'")

    assert shim_use.observed(session, standing) is None
    [blocker] = retirement.shim_blockers(session, standing, release_is_gone=False, again="")
    assert "counts nothing here" in blocker.message


def test_shims_stay_while_a_run_is_not_finished(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    session.execute("UPDATE opssight_migrate.runs SET status = 'failed'")

    report = clean(settings, "shims", release_is_gone=True)

    assert report.exit_code == 7
    assert "not finished" in error_of(report)[1]


def test_shims_go_on_from_where_a_stopped_cleanup_left_them(
    migrated: tuple[Settings, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, session = migrated
    dropped: list[str] = []
    drop = Ddl.drop_index

    def stop(ddl: Ddl, table: str, name: str) -> None:
        if len(dropped) == 3:
            raise InterruptedRunError("stopped by a test")
        dropped.append(name)
        drop(ddl, table, name)

    with monkeypatch.context() as patched:
        patched.setattr(Ddl, "drop_index", stop)
        stopped = clean(settings, "shims", release_is_gone=True)
    assert stopped.exit_code == 130
    assert len(stopped.shims) == 8

    assert clean(settings, "shims", release_is_gone=True).status == "ok"
    assert catalogue_text(session) == golden_text(TARGET)


def test_an_archive_is_retired_after_its_keep_time_and_not_before(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    assert go_back(settings, RollbackRequest(to_revision=START)).status == "ok"
    before = everything(session)

    assert clean(settings, "archives").status == "nothing_to_do"
    planned = clean(settings, "archives", older_than=_AT_ONCE, dry_run=True)
    assert everything(session) == before
    [step] = planned.steps
    assert step.rows is not None
    assert step.rows.total == 200 + 1 + 36 + int(
        session.scalar(f"SELECT count(*) FROM {step.id}.audit_logs")
    )
    assert "user_roles 200 rows" in step.title

    report = clean(settings, "archives", older_than=_AT_ONCE)

    assert report.status == "ok", report.diagnostics
    assert archive.entries(session) == ()
    assert not archive.is_there(session, step.id)
    # There is no audit log at the start: the row waits in the journal.
    assert (
        session.scalar(
            "SELECT count(*) FROM opssight_migrate.audit_rows"
            " WHERE written_at IS NULL AND description LIKE 'retired opssight_archive_%'"
        )
        == 1
    )
    again = run(settings)
    assert again.status == "ok", again.diagnostics
    assert (
        session.scalar(
            "SELECT count(*) FROM audit_logs WHERE description LIKE 'retired opssight_archive_%'"
        )
        == 1
    )


def test_an_archive_that_an_unfinished_run_may_need_stays(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    assert go_back(settings, RollbackRequest(to_revision=RBAC)).status == "ok"
    session.execute("UPDATE opssight_migrate.runs SET status = 'failed' WHERE command = 'rollback'")

    assert clean(settings, "archives", older_than=_AT_ONCE).status == "nothing_to_do"


def test_what_somebody_put_into_an_archive_is_not_dropped_with_it(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    assert go_back(settings, RollbackRequest(to_revision=RBAC)).status == "ok"
    [schema] = {entry.schema for entry in archive.entries(session)}
    session.execute(f"CREATE TABLE {schema}.mine (id int)")
    before = len(archive.entries(session))

    report = clean(settings, "archives", older_than=_AT_ONCE)

    assert report.exit_code == 9
    assert "mine" in error_of(report)[1]
    assert len(archive.entries(session)) == before


def test_broken_indexes_go_and_those_of_others_stay(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    session.execute("CREATE INDEX ix_users_email_twin ON users (email)")
    session.execute("CREATE INDEX dba ON users (email)")
    session.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid IN ('ix_users_email_twin'::regclass, 'dba'::regclass)"
    )

    report = clean(settings, "artifacts")

    assert [step.id for step in report.steps] == ["index ix_users_email_twin"]
    left = session.rows("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    assert left == [("dba",)]


def test_the_newest_runs_stay_in_the_journal_however_old_they_are(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    for _ in range(2):
        assert go_back(settings, RollbackRequest(to_revision=RBAC)).status == "ok"
        assert run(settings).status == "ok"
    session.execute(_AGE_RUNS)
    runs = [one for (one,) in session.rows("SELECT id FROM opssight_migrate.runs ORDER BY epoch")]

    planned = clean(settings, "artifacts", keep_last=1, dry_run=True)
    assert [step.id for step in planned.steps] == [f"run {one}" for one in runs[:2]]
    assert clean(settings, "artifacts", keep_last=4, dry_run=True).steps[0].id == f"run {runs[0]}"
    report = clean(settings, "artifacts")

    assert report.status == "ok", report.diagnostics
    left = session.rows("SELECT id FROM opssight_migrate.runs WHERE command <> 'cleanup'")
    assert {one for (one,) in left} == set(runs[2:])
    assert run(settings).status == "nothing_to_do"


@pytest.mark.needs_further_grants("databases are made and dropped")
def test_scratch_and_retired_databases_go_while_nobody_is_in_them(
    migrated: tuple[Settings, Session],
    server: Cluster,
    opened: Callable[[str], Session],
) -> None:
    settings, session = migrated
    assert go_back(settings, RollbackRequest(to_revision=RBAC)).status == "ok"
    name = session.scalar("SELECT current_database()")
    known = session.scalar("SELECT id FROM opssight_migrate.runs WHERE command = 'rollback'")
    made = [
        f"{rehearsal.PREFIX}{name}",
        f"{name}_before_{known}",
        f"{name}_before_rdeadbeef00",
        f"other_{name}_before_{known}",
    ]
    for one in made:
        create_for(server, one, OWNER)
    try:
        kept = clean(settings, "retired")
        assert kept.status == "nothing_to_do"
        assert any(f"database {made[1]} stays" in one for one in kept.announcements)
        soon = settings.model_copy(update={"cleanup": Cleanup(keep_retired_days=0)})
        assert [step.id for step in clean(soon, "retired", dry_run=True).steps] == [
            f"database {made[1]}"
        ]
        busy = opened(server.conninfo(made[1]))
        planned = clean(settings, "retired", older_than=_AT_ONCE, dry_run=True)
        assert planned.status == "nothing_to_do"
        busy.close()
        planned = clean(settings, "retired", older_than=_AT_ONCE, keep_last=4, dry_run=True)
        [further] = planned.next
        seconds = f"{_AT_ONCE.total_seconds():g}s"
        assert further.command.endswith(f"cleanup --retired --keep-last 4 --older-than {seconds}")

        artifacts = clean(settings, "artifacts")
        assert f"database {made[0]}" in [step.id for step in artifacts.steps]
        report = clean(
            settings, *retirement.ALL, dry_run=True, release_is_gone=True, older_than=_AT_ONCE
        )
        assert f"database {made[1]}" not in [step.id for step in report.steps]
        retired = clean(settings, "retired", older_than=_AT_ONCE)
        assert [step.id for step in retired.steps] == [f"database {made[1]}"]

        left = session.rows(
            "SELECT datname::text FROM pg_database WHERE datname = ANY(%s)", (made,)
        )
        # That of a run which the journal does not know stays, and another database's.
        assert {one for (one,) in left} == {made[2], made[3]}
    finally:
        for one in made:
            run_on(server, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(one)))


@pytest.mark.needs_further_grants("databases are made and dropped")
def test_scratch_databases_of_killed_proofs_go_and_those_of_the_living_stay(
    migrated: tuple[Settings, Session], server: Cluster
) -> None:
    settings, session = migrated
    dead = f"{scratch.PREFIX}0123456789ab"
    create_for(server, dead, FURTHER)
    with scratch.scratch(session, properties.read_properties(session)) as living:
        # The next proof would have swept it: make it again, as a process killed just now left it.
        create_for(server, dead, FURTHER)

        report = clean(settings, "artifacts")

        assert report.status == "ok", report.diagnostics
        assert [step.id for step in report.steps] == [f"database {dead}"]
        there = session.rows(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s)",
            (scratch.PREFIX,),
        )
        assert there == [(living,)]


def test_old_backups_go_but_for_the_newest_and_the_newest_proven_one(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    tmp_path: Path,
) -> None:
    conninfo = database_at(START)
    keys = {"url": conninfo, "backup_dir": str(tmp_path), "backup_plain": True, "backup": "never"}
    settings = settings_for(conninfo, environments={"test": keys, "other": keys})
    assert run(settings).status == "ok"
    session = opened(conninfo)

    def made(environment: str = "test", **changes: Any) -> Shelved:
        order = Order(environment=environment, tool="t", shelf=Shelf(tmp_path), **changes)
        return creation.create(session, order, unheard)

    proven, parted = made(proves=True), made(jobs=2)
    others = [made("other"), made(), made(), made()]
    forged = made()
    content = forged.manifest_path.read_text()
    forged.manifest_path.write_text(content.replace('"test"', '"other"', 1))

    assert clean(settings, "backups").status == "nothing_to_do"
    session.execute("UPDATE opssight_migrate.runs SET status = 'failed' WHERE command = 'migrate'")
    assert clean(settings, "backups", older_than=_AT_ONCE).status == "nothing_to_do"
    session.execute("UPDATE opssight_migrate.runs SET status = 'ok' WHERE command = 'migrate'")
    planned = clean(settings, "backups", older_than=_AT_ONCE, keep_last=1, dry_run=True)
    report = clean(settings, *retirement.ALL, older_than=_AT_ONCE, release_is_gone=True)

    name = parted.manifest_path.name.removesuffix(".manifest.json")
    assert [step.id for step in planned.steps] == [f"backup {name}"]
    assert report.status == "ok", report.diagnostics
    assert f"backup {name}" in [step.id for step in report.steps]
    assert not any(path.exists() for path in (parted.manifest_path, *parted.paths))
    stay = [proven, *others, forged]
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for one in stay for path in (one.manifest_path, *one.paths)
    }
    [audited] = session.rows(
        "SELECT table_name FROM audit_logs WHERE description LIKE 'retired backup %'"
    )
    assert audited == (str(parted.path)[:100],)


def _log(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("x")
    path.with_suffix(".jsonl").write_text("{}")
    return path


def test_logs_of_this_environment_go_but_for_the_newest(
    database_at: DatabaseAt, settings_for: SettingsFor, tmp_path: Path
) -> None:
    settings = settings_for(database_at(START))
    old = [_log(tmp_path, f"migration_test_2026010{day}T000000Z.log") for day in range(1, 6)]
    kept = [
        _log(tmp_path, "rollback_test_20260101T000000Z.log"),
        _log(tmp_path, "migration_testing_20260101T000000Z.log"),
        _log(tmp_path, "migration_test_test_20260101T000000Z.log"),
        _log(tmp_path, "notes.log"),
    ]
    (tmp_path / "migration_test_20250101T000000Z.log").symlink_to(kept[3])

    report = clean(settings, "logs", keep_last=2, log_dir=tmp_path)

    assert report.status == "ok", report.diagnostics
    assert [path.exists() for path in old] == [False, False, True, True, True]
    assert [path.with_suffix(".jsonl").exists() for path in old] == [False] * 2 + [True] * 3
    assert all(path.exists() for path in kept)


def test_a_log_name_that_two_environments_could_have_is_nobodys(tmp_path: Path) -> None:
    _log(tmp_path, "migration_test_x_20260101T000000Z.log")

    assert old_logs.candidates(tmp_path, "x") == ()
    assert old_logs.candidates(tmp_path, "test_x") == ()
    assert old_logs.candidates(tmp_path / "missing", "x") == ()


def test_declined_nothing_is_retired(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    before = everything(session)

    def decline(plan: Plan, is_copy: bool) -> None:
        assert len(plan.steps) == 18
        raise NotConfirmedError("declined")

    report = clean(settings, "shims", release_is_gone=True, confirm=decline)

    assert report.exit_code == 11
    assert everything(session) == before


def test_what_is_to_be_retired_has_to_be_named(migrated: tuple[Settings, Session]) -> None:
    report = clean(migrated[0])

    assert report.exit_code == 2


def test_on_plain_postgresql_there_are_no_chunks_and_it_says_why(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    before = everything(session)

    for dry_run in (True, False):
        report = clean(settings, "chunks", dry_run=dry_run)

        assert (report.status, report.exit_code) == ("nothing_to_do", 0)
        assert report.announcements == (
            "time series: TimescaleDB is not on this server: there are no chunks",
        )
    assert everything(session) == before
