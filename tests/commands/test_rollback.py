"""``rollback --type schema``: the ledger before, the proof after, and every row somewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import LiteralString

import pytest
from tests.chain.looks import catalogue_text, golden_text, shims_up_to, without_shims
from tests.commands.conftest import Asked, error_of, everything, run
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.rollback import RollbackRequest, rollback
from opssight_migrate.commands.status import status
from opssight_migrate.engine.governor import Governor
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.model.errors import (
    HeldUpError,
    InterruptedRunError,
    MigrateError,
    NotConfirmedError,
    RefusedError,
)
from opssight_migrate.model.events import Event, LockTaken, RevisionUndone, unheard
from opssight_migrate.model.plan import LossKind, Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, RBAC, START, TARGET
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import archive, digest, exclusive
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.session import Session
from opssight_migrate.render.report_text import summary_lines
from opssight_migrate.settings import Settings
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

# As the new release writes: a second tenant with its own people, and rows in every new table.
NEW_RELEASE: tuple[LiteralString, ...] = (
    """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
       subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES ('Acme', 'acme', 'UTC', 'USD', 'YYYY', true, true, 'free', 1, 1, 1, 1)
""",
    """
INSERT INTO users (github_id, github_username, email, is_active, is_superuser, organization_id)
SELECT 'acme' || n, 'acme' || n, n || '@acme.test', true, false, o.id
  FROM organizations AS o, generate_series(1, 20) AS n WHERE o.slug = 'acme'
""",
    """
INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
SELECT u.id, (SELECT min(id) FROM roles), u.organization_id, true
  FROM users AS u WHERE github_id LIKE 'acme%'
""",
    """
INSERT INTO events (organization_id, "timestamp", event_type, event_name, title, severity, source,
       status, triggered_by, created_at, updated_at)
SELECT organization_id, now(), 'custom', 'e' || id, 't', 'info', 's', 'open', id, now(), now()
  FROM users
""",
)
OLD_RELEASE: tuple[LiteralString, ...] = (
    """
INSERT INTO users (github_id, github_username, email, is_active, is_superuser)
VALUES ('late', 'late', 'late@opssight.test', true, false)
""",
    "UPDATE users SET role_id = (SELECT max(id) FROM roles) WHERE github_id = 'acme1'",
)


def go_back(
    settings: Settings,
    request: RollbackRequest,
    *,
    confirm: Callable[[Plan, bool], None] | None = None,
    events: list[Event] | None = None,
    safety_backup: Callable[[Session, Plan], None] | None = None,
) -> Report:
    """Run ``rollback`` on the default environment, and say yes."""
    return rollback(
        settings,
        settings.profile(None),
        request,
        confirm=confirm or Asked(),
        emit=unheard if events is None else events.append,
        safety_backup=safety_backup,
    )


@pytest.fixture
def migrated(
    migrated_database: Callable[[], str],
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
) -> tuple[Settings, Session]:
    """A populated database that ``migrate`` took from the start to the target."""
    conninfo = migrated_database()
    return settings_for(conninfo), opened(conninfo)


def old_columns(session: Session) -> dict[str, TableDigest]:
    """Digest the 22 tables over the columns that they have at the start."""
    tables = golden(START)["tables"]
    columns = {t: [column["name"] for column in tables[t]["columns"]] for t in TABLES_AT_START}
    with session.reading():
        return digest.digest_database(session, columns)


def test_there_and_back_and_there_again_loses_no_row(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    for statement in NEW_RELEASE:
        session.execute(statement)
    written = old_columns(session)
    new_rows = {
        table: int(session.scalar(f"SELECT count(*) FROM {table}"))
        for table in ("organizations", "user_roles", "events", "audit_configurations")
    }

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
    assert catalogue_text(session) == golden_text(START)
    assert old_columns(session) == written
    assert report.revision is not None
    assert (report.revision.from_, report.revision.to) == (TARGET, START)
    assert report.proof is not None
    assert report.proof.identical
    assert report.proof.tables == len(TABLES_AT_START)
    kept = {entry.name: archive.rows_of(session, entry) for entry in archive.entries(session)}
    assert {name: kept[name] for name in new_rows} == new_rows
    assert kept["users.organization_id"] == 20
    ledger = {one.what: one.rows for one in report.losses if one.kind != "note"}
    assert {name: ledger[name] for name in new_rows} == new_rows
    assert ledger["users.organization_id"] == 20

    for statement in OLD_RELEASE:
        session.execute(statement)
    between = old_columns(session)

    again = run(settings)

    assert (again.status, again.exit_code) == ("ok", 0), again.diagnostics
    assert without_shims(session) == (golden_text(TARGET), shims_up_to(TARGET))
    assert old_columns(session) == between
    assert archive.entries(session) == ()
    assert session.scalar("SELECT count(*) FROM events") == new_rows["events"]
    # The late user got a row; everybody else kept theirs, and a later change of role_id won.
    assert session.scalar("SELECT count(*) FROM user_roles") == new_rows["user_roles"] + 1
    assert session.rows(
        "SELECT r.role_id = u.role_id, o.slug FROM user_roles AS r JOIN users AS u"
        " ON u.id = r.user_id JOIN organizations AS o ON o.id = r.organization_id"
        " WHERE u.github_id = 'acme1'"
    ) == [(True, "acme")]
    assert session.scalar("SELECT count(*) FROM users WHERE organization_id IS NULL") == 0
    assert (
        session.scalar(
            "SELECT count(*) FROM users AS u JOIN organizations AS o ON o.id = u.organization_id"
            " WHERE o.slug = 'acme'"
        )
        == 20
    )
    traces = session.rows("SELECT description FROM audit_logs ORDER BY timestamp, id")
    assert (f"rolled back to {START}",) in traces
    assert (f"revision {MULTI_TENANCY} undone",) in traces


def test_the_plan_says_what_is_archived_and_a_dry_run_changes_nothing(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    before = everything(session)

    report = go_back(settings, RollbackRequest(to_revision=START, dry_run=True))

    assert (report.status, report.exit_code) == ("pending", 0)
    assert [step.id for step in report.steps] == [TARGET, "b521a10e8182", RBAC, MULTI_TENANCY]
    rows = {one.what: (one.kind, one.rows) for one in report.losses}
    assert rows["user_roles"] == ("archived", 200)
    assert rows["organizations"] == ("archived", 1)
    for one in report.losses:
        assert one.query is not None
        assert len(session.rows(one.query)) == one.rows
    assert [step.command for step in report.next] == [
        f"opssight-migrate rollback --to-revision {START}"
    ]
    assert everything(session) == before


def test_every_stop_on_the_way_down_is_golden(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    for revision in ("b521a10e8182", RBAC, MULTI_TENANCY, START):
        report = go_back(settings, RollbackRequest(to_revision=revision))

        assert report.status == "ok", report.diagnostics
        catalogue, shims = (
            without_shims(session)
            if revision != START
            else (
                catalogue_text(session),
                set(),
            )
        )
        assert catalogue == golden_text(revision)
        assert shims == (shims_up_to(revision) if revision != START else set())

    assert run(settings).status == "ok"
    assert without_shims(session) == (golden_text(TARGET), shims_up_to(TARGET))
    assert archive.entries(session) == ()


def test_events_receipts_and_the_journal_tell_of_each_revision(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    events: list[Event] = []

    report = go_back(settings, RollbackRequest(to_revision=RBAC), events=events)

    undone = [event.revision for event in events if isinstance(event, RevisionUndone)]
    assert undone == [TARGET, "b521a10e8182"]
    assert any(isinstance(event, LockTaken) for event in events)
    assert all(step.locks for step in report.steps)
    assert session.rows(
        "SELECT step_id, s.status FROM opssight_migrate.steps AS s"
        " JOIN opssight_migrate.runs AS r ON r.id = s.run_id WHERE r.command = 'rollback'"
        " ORDER BY s.started_at"
    ) == [(TARGET, "done"), ("b521a10e8182", "done")]
    assert session.scalar(
        "SELECT count(*) FROM opssight_migrate.lock_receipts AS l"
        " JOIN opssight_migrate.runs AS r ON r.id = l.run_id WHERE r.command = 'rollback'"
    ) == sum(len(step.locks) for step in report.steps)
    assert [step.command for step in report.next] == [
        "deploy the old OpsSight release",
        "opssight-migrate migrate",
    ]


def test_where_nothing_is_to_be_undone_nobody_is_asked(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    asked = Asked()
    report = go_back(
        settings_for(database_at(START)), RollbackRequest(to_revision=START), confirm=asked
    )

    assert (report.status, report.exit_code, asked.plans) == ("nothing_to_do", 0, [])


@pytest.mark.parametrize(
    ("request_", "code", "exit_code", "said"),
    [
        (RollbackRequest(to_revision=HEAD), "OM301", 7, f"is at {TARGET}, before {HEAD}"),
        (RollbackRequest(to_revision="d8b4"), "OM101", 2, "'d8b4' is none of the published"),
        (RollbackRequest(run="m0"), "OM101", 2, "no migration 'm0'"),
        (RollbackRequest(), "OM101", 2, "Neither a revision nor a run"),
    ],
    ids=["forward", "substring", "unknown run", "nothing"],
)
def test_what_cannot_be_meant_is_refused(
    migrated: tuple[Settings, Session],
    request_: RollbackRequest,
    code: str,
    exit_code: int,
    said: str,
) -> None:
    settings, session = migrated
    before = everything(session)

    report = go_back(settings, request_)

    assert report.exit_code == exit_code
    assert error_of(report)[0] == code
    assert said in error_of(report)[1]
    assert everything(session) == before


def test_a_view_on_what_goes_is_refused_before_anything_is_changed(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    session.execute("CREATE VIEW public.tenants AS SELECT id, organization_id FROM users")
    before = everything(session)

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.exit_code == 7
    assert "users.organization_id is to go, and view public.tenants" in error_of(report)[1]
    assert everything(session) == before
    # Short of that column the view stands in nobody's way.
    assert go_back(settings, RollbackRequest(to_revision=RBAC)).status == "ok"


def test_values_that_would_be_unique_again_are_refused_with_their_rows(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    session.execute("DROP INDEX ix_users_email_once_unique")
    first, second = session.rows("SELECT id FROM users WHERE email IS NOT NULL ORDER BY id LIMIT 2")
    session.execute(
        "UPDATE users SET email = (SELECT email FROM users WHERE id = %s) WHERE id = %s",
        (first[0], second[0]),
    )
    before = everything(session)

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.exit_code == 7
    message = error_of(report)[1]
    assert "users.email would be unique again, and 2 rows share" in message
    assert f"id {first[0]}, {second[0]}" in message
    [conflict] = [one for one in report.losses if one.kind == "conflict"]
    assert conflict.query is not None
    [[_, count, ids]] = session.rows(conflict.query)
    assert (count, ids) == (2, [first[0], second[0]])
    assert everything(session) == before
    assert go_back(settings, RollbackRequest(to_revision=MULTI_TENANCY)).status == "ok"


def test_after_the_shims_are_gone_unique_indexes_are_built_again(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    session.execute("DROP INDEX ix_users_email_once_unique")
    session.execute("ALTER TABLE users ALTER organization_id DROP DEFAULT")

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.status == "ok", report.diagnostics
    assert catalogue_text(session) == golden_text(START)
    kept = {entry.name: archive.rows_of(session, entry) for entry in archive.entries(session)}
    assert kept["users.organization_id"] == 0


def test_what_a_dba_built_on_the_column_is_named_and_goes(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    session.execute("CREATE INDEX dba_idx ON users (organization_id, full_name)")
    session.execute("CREATE INDEX dba_stays ON users (full_name)")
    session.execute("ALTER TABLE users ADD CONSTRAINT dba_check CHECK (organization_id > 0)")
    session.execute("CREATE INDEX dba_on_archived ON user_roles (notes)")

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.status == "ok", report.diagnostics
    goes = sorted(one.what for one in report.losses if one.kind == "goes")
    assert goes == [
        "constraint dba_check on table users goes with users.organization_id",
        "index dba_idx goes with users.organization_id",
    ]
    names = session.rows(
        "SELECT indexname::text FROM pg_indexes WHERE indexname LIKE 'dba%' ORDER BY 1"
    )
    assert names == [("dba_on_archived",), ("dba_stays",)]


def test_an_assignment_that_the_old_release_will_not_see_is_said(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    session.execute(
        "UPDATE user_roles SET role_id = (SELECT max(id) FROM roles)"
        " WHERE user_id = (SELECT min(id) FROM users WHERE role_id <> (SELECT max(id) FROM roles))"
    )

    report = go_back(settings, RollbackRequest(to_revision=START, dry_run=True))

    [note] = [one for one in report.losses if one.kind == "note"]
    assert note.rows == 1
    assert "role_id wins" in note.what


def test_declined_nothing_is_changed(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    before = everything(session)
    taken: list[str] = []

    def decline(plan: Plan, is_copy: bool) -> None:
        raise NotConfirmedError("declined")

    report = go_back(
        settings,
        RollbackRequest(to_revision=START),
        confirm=decline,
        safety_backup=lambda *_: taken.append("taken"),
    )

    assert (report.exit_code, taken) == (11, [])
    assert everything(session) == before


def test_the_safety_backup_comes_before_the_first_change_and_stops_it_if_it_fails(
    migrated: tuple[Settings, Session],
) -> None:
    settings, session = migrated
    before = everything(session)

    def fail(ours: Session, plan: Plan) -> None:
        assert exclusive.is_held(ours)
        assert plan.losses
        raise RefusedError("the backup failed")

    report = go_back(settings, RollbackRequest(to_revision=START), safety_backup=fail)

    assert report.exit_code == 7
    assert error_of(report)[1] == "the backup failed"
    assert everything(session) == before


def test_another_run_at_work_is_not_disturbed(
    migrated: tuple[Settings, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, session = migrated
    exclusive.take(session)
    monkeypatch.setattr(exclusive.take, "__kwdefaults__", {"patience_s": 0.1})

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.exit_code == 6


class _Stopping:
    """Stops a run at its Nth pause point, as a signal would."""

    def __init__(self, at: int) -> None:
        self.left = at

    def stop(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptedRunError("stopped by a test")


@pytest.mark.parametrize("at", [2, 3, 6, 12, 20, 30, 44])
def test_stopped_anywhere_the_same_command_goes_on_into_the_same_archive(
    migrated: tuple[Settings, Session], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    settings, session = migrated
    for statement in NEW_RELEASE:
        session.execute(statement)
    written = old_columns(session)
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "pause_point", _Stopping(at).stop)
        stopped = go_back(settings, RollbackRequest(to_revision=START))
    assert (stopped.status, stopped.exit_code) == ("interrupted", 130)

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert report.status == "ok", report.diagnostics
    assert catalogue_text(session) == golden_text(START)
    assert old_columns(session) == written
    assert len({entry.schema for entry in archive.entries(session)}) == 1
    assert run(settings).status == "ok"
    assert session.scalar("SELECT count(*) FROM events") == 220
    assert archive.entries(session) == ()


# Before these the run only measures and digests, and has nothing to be undone.
@pytest.mark.parametrize("at", [14, 17, 21, 26])
def test_a_migration_that_stopped_on_the_way_is_undone_with_its_unstamped_revision(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    conninfo = database_at(START)
    settings, session = settings_for(conninfo), opened(conninfo)
    before = old_columns(session)
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "pause_point", _Stopping(at).stop)
        assert run(settings).status == "interrupted"
    [[run_id]] = session.rows("SELECT id FROM opssight_migrate.runs")

    report = go_back(settings, RollbackRequest(run=run_id))

    assert report.exit_code == 0, report.diagnostics
    assert catalogue_text(session) == golden_text(START)
    assert old_columns(session) == before
    again = run(settings)
    assert again.status == "ok"
    assert session.rows("SELECT status FROM opssight_migrate.runs ORDER BY epoch") == [
        ("superseded",),
        ("ok",),
        ("ok",),
    ]


def test_a_run_is_undone_by_its_name(migrated: tuple[Settings, Session]) -> None:
    settings, session = migrated
    [[first]] = session.rows("SELECT id FROM opssight_migrate.runs")
    further = run(settings, MigrateRequest(to=HEAD))
    assert further.status == "ok", further.diagnostics
    [[second]] = session.rows("SELECT id FROM opssight_migrate.runs WHERE id <> %s", (first,))

    early = go_back(settings, RollbackRequest(run=first))
    assert early.exit_code == 7
    assert f"migrate {second} came after run {first}" in error_of(early)[1]

    assert go_back(settings, RollbackRequest(run=second)).status == "ok"
    assert without_shims(session) == (golden_text(TARGET), shims_up_to(TARGET))


def test_what_is_copied_on_the_way_back_is_paced_by_the_governor(
    migrated: tuple[Settings, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = migrated
    monkeypatch.setattr(SetUpTimeSeries, "stands", lambda *_: True)
    monkeypatch.setattr(SetUpTimeSeries, "undo", lambda _, ctx: ctx.ddl.pace())

    def held_up(governor: Governor, step_id: str = "") -> None:
        raise HeldUpError("held up for 1800 s (governor.budget): replica lag")

    monkeypatch.setattr(Governor, "pace", held_up)

    report = go_back(settings, RollbackRequest(to_revision=START))

    assert (report.exit_code, error_of(report)[0]) == (6, "OM403")


def test_a_run_that_wrote_rows_at_a_revision_it_found_is_not_undone_by_schema(
    database_at: DatabaseAt, settings_for: SettingsFor, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(TARGET)
    settings, session = settings_for(conninfo), opened(conninfo)
    planned = run(settings, MigrateRequest(dry_run=True))
    assert {step.reversible for step in planned.steps} == {"none"}
    assert run(settings).status == "ok"
    [[run_id]] = session.rows("SELECT id FROM opssight_migrate.runs")

    report = go_back(settings, RollbackRequest(run=run_id))

    assert report.exit_code == 7
    assert "assign-roles wrote 200 rows" in " ".join(one.message for one in report.diagnostics)


def test_a_run_on_an_empty_database_goes_back_to_an_empty_database(
    empty_database: Callable[[], str], settings_for: SettingsFor, opened: Callable[[str], Session]
) -> None:
    conninfo = empty_database()
    settings, session = settings_for(conninfo), opened(conninfo)
    assert run(settings).status == "ok"
    session.execute("DELETE FROM role_permissions; DELETE FROM roles; DELETE FROM permissions")
    [[run_id]] = session.rows("SELECT id FROM opssight_migrate.runs")

    report = go_back(settings, RollbackRequest(run=run_id))

    assert report.status == "ok", report.diagnostics
    tables = session.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("alembic_version",)]


@pytest.mark.parametrize("at", [3, 25])
def test_undoing_a_run_on_an_empty_database_that_stopped_goes_on_by_the_runs_name(
    empty_database: Callable[[], str],
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    conninfo = empty_database()
    settings, session = settings_for(conninfo), opened(conninfo)
    assert run(settings).status == "ok"
    session.execute("DELETE FROM role_permissions; DELETE FROM roles; DELETE FROM permissions")
    [[run_id]] = session.rows("SELECT id FROM opssight_migrate.runs")
    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "pause_point", _Stopping(at).stop)
        stopped = go_back(settings, RollbackRequest(run=run_id))
    assert stopped.exit_code == 130

    told = status(settings, settings.profile(None), emit=unheard)
    refused = run(settings)

    assert told.next[0].command == f"opssight-migrate rollback --run {run_id}"
    [hint] = [one.hint for one in refused.diagnostics if one.severity == "error"]
    assert hint == f"opssight-migrate rollback --run {run_id} goes on from there"
    assert go_back(settings, RollbackRequest(run=run_id)).status == "ok"
    tables = session.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("alembic_version",)]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_migration_that_stopped_before_it_changed_anything_is_closed(
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    opened: Callable[[str], Session],
    by_name: bool,
) -> None:
    conninfo = database_at(START)
    settings, session = settings_for(conninfo), opened(conninfo)
    assert run(settings, MigrateRequest(deadline_s=0.001)).exit_code == 9
    before, asked = old_columns(session), Asked()
    [[run_id, was]] = session.rows("SELECT id, status FROM opssight_migrate.runs")
    assert was == "interrupted"
    request = RollbackRequest(run=run_id) if by_name else RollbackRequest(to_revision=START)

    planned = go_back(settings, replace(request, dry_run=True))
    report = go_back(settings, request, confirm=asked)

    assert "had changed nothing: there is nothing to undo" in planned.announcements[0]
    assert (report.status, report.exit_code) == ("ok", 0), report.diagnostics
    assert [plan.steps for plan in asked.plans] == [()]
    assert [one.command for one in report.next] == ["opssight-migrate migrate"]
    assert session.rows("SELECT command, status FROM opssight_migrate.runs ORDER BY epoch") == [
        ("migrate", "superseded"),
        ("rollback", "ok"),
    ]
    assert old_columns(session) == before
    assert go_back(settings, request).status == "nothing_to_do"


def test_a_plan_to_migrate_says_how_each_step_is_taken_back(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    report = run(settings_for(database_at(START)), MigrateRequest(dry_run=True))

    assert {step.reversible for step in report.steps} == {"archive"}


def test_an_error_of_the_server_leaves_a_run_to_go_on_with(
    migrated: tuple[Settings, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, session = migrated

    def fail(*_: object) -> None:
        raise MigrateError("no")

    with monkeypatch.context() as patched:
        patched.setattr(archive, "keep_type", fail)
        report = go_back(settings, RollbackRequest(to_revision=START))
    assert report.status == "partial"

    blocked = run(settings)
    assert blocked.exit_code == 7
    assert f"to {START} stopped on the way" in error_of(blocked)[1]
    seen = status(settings, settings.profile(None), emit=unheard)
    assert [one.command for one in seen.next] == [
        f"opssight-migrate rollback --to-revision {START}"
    ]
    assert go_back(settings, RollbackRequest(to_revision=START)).status == "ok"
    assert catalogue_text(session) == golden_text(START)


def test_the_kinds_of_the_ledger_are_those_of_the_document() -> None:
    from opssight_migrate.model.report import LedgerLine

    for kind in LossKind:
        assert LedgerLine(kind=kind.value, what="x").kind == kind.value


def test_status_tells_of_archives_and_names_the_next_commands(
    migrated: tuple[Settings, Session],
) -> None:
    settings, _ = migrated
    up = status(settings, settings.profile(None), emit=unheard)
    assert up.archives == up.retired == ()
    assert [one.command for one in up.next] == [
        "opssight-migrate verify",
        "opssight-migrate cleanup --shims -n",
        f"opssight-migrate rollback --to-revision {START} -n",
    ]

    assert go_back(settings, RollbackRequest(to_revision=START)).status == "ok"
    down = status(settings, settings.profile(None), emit=unheard)

    [kept] = down.archives
    assert kept.startswith(archive.PREFIX)
    assert "user_roles 200 rows" in kept
    assert f"archive {kept}" in summary_lines(down)
    assert [one.command for one in down.next] == ["opssight-migrate migrate -n"]


def test_a_migration_names_cleanup_and_the_way_back(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    report = run(settings_for(database_at(START)))

    assert [one.command for one in report.next] == [
        "opssight-migrate verify",
        "deploy the new OpsSight release",
        "opssight-migrate cleanup --shims",
        f"opssight-migrate rollback --to-revision {START}",
    ]
