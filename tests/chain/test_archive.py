"""Going back without loss: what a downgrade takes out of public, the next upgrade brings home."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import pytest
from tests.chain.looks import BEFORE, IDS, catalogue_text, golden_text, shims_up_to, without_shims
from tests.chain.test_half_done import PullThePlugError, Stepping
from tests.conftest import DatabaseAt
from tests.least import as_superuser

from opssight_migrate.model.errors import RefusedError, RowsWouldBeLostError
from opssight_migrate.model.events import Event, Noted, StatementStarted
from opssight_migrate.opssight.revisions import HEAD, MULTI_TENANCY, START, TARGET
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import archive, catalog, chain, digest, following
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

ARCHIVE = archive.name_for("r1")
# A second tenant, and a row in every table that the chain makes; some values off the default.
TENANTS = """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
       subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES ('Acme', 'acme', 'UTC', 'USD', 'YYYY', true, true, 'free', 1, 1, 1, 1);
UPDATE users SET organization_id = (SELECT id FROM organizations WHERE slug = 'acme')
 WHERE id % 3 = 0;
UPDATE teams SET organization_id = (SELECT id FROM organizations WHERE slug = 'acme')
 WHERE id % 5 = 0;
UPDATE roles SET organization_id = (SELECT id FROM organizations WHERE slug = 'acme')
 WHERE name = 'ADMIN';
UPDATE permissions SET is_system_permission = false WHERE id % 2 = 0;
INSERT INTO user_roles (user_id, role_id, organization_id, assigned_by, is_active)
SELECT u.id, min(r.id), u.organization_id, u.id, true FROM users AS u, roles AS r GROUP BY u.id;
INSERT INTO events (organization_id, "timestamp", event_type, event_name, title, severity, source,
       status, triggered_by, created_at, updated_at)
SELECT organization_id, now(), 'custom', 'e' || id, 't', 'info', 's', 'open', id, now(), now()
  FROM users;
UPDATE events SET parent_event_id = (SELECT min(id) FROM events) WHERE id % 2 = 0;
INSERT INTO metrics (organization_id, "timestamp", metric_name, metric_type, source, value,
       is_interpolated, created_at, updated_at)
SELECT id, now(), 'load', 'gauge', 'host', 1, false, now(), now() FROM organizations;
INSERT INTO audit_configurations (organization_id, table_name, operation, is_enabled,
       include_old_values, include_new_values, severity_override, created_at, updated_at)
SELECT id, 'users', 'INSERT', true, true, true, 'HIGH', now(), now() FROM organizations;
INSERT INTO user_permissions (user_id, permission_id, is_active, granted_by)
SELECT u.id, min(p.id), true, u.id FROM users AS u, permissions AS p GROUP BY u.id;
"""
_EVERYWHERE = (
    "organizations",
    "user_roles",
    "events",
    "metrics",
    "audit_configurations",
    "user_permissions",
)
_ANY_USER = "SELECT max(id) FROM users WHERE id % 3 = 0"
# As an administrator of the old release would delete somebody: what points at the user first.
_DELETE_USER: tuple[LiteralString, ...] = (
    "DELETE FROM team_memberships WHERE %(id)s IN (user_id, invited_by_user_id)",
    "DELETE FROM user_teams WHERE %(id)s IN (user_id, invited_by_user_id)",
    "UPDATE teams SET created_by_user_id = NULL WHERE created_by_user_id = %(id)s",
    "UPDATE projects SET created_by_user_id = NULL WHERE created_by_user_id = %(id)s",
)
_KEYS_TO_USERS = """
SELECT c.relname::text, a.attname::text, a.attnotnull
  FROM pg_constraint AS k
  JOIN pg_class AS c ON c.oid = k.conrelid AND c.relnamespace = 'public'::regnamespace
  JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
 WHERE k.contype = 'f' AND k.confrelid = 'users'::regclass
"""


@dataclass
class Place:
    """A database at the head with two tenants, to go down and up again."""

    session: Session
    events: list[Event]

    def down(self, revision: str, schema: str = ARCHIVE) -> None:
        chain.downgrade(
            chain.Drive(session=self.session, archive=schema, emit=self.events.append), revision
        )

    def up(self, revision: str = HEAD) -> None:
        chain.upgrade(chain.Drive(session=self.session, emit=self.events.append), revision)

    def rows(self) -> dict[str, TableDigest]:
        with self.session.reading():
            return digest.digest_database(self.session, digest.columns_by_table(self.session))

    def delete_user(self) -> int:
        """Delete a user together with what the 22 tables have of them; return the id."""
        gone = int(self.session.scalar(_ANY_USER))
        for table, column, required in self.session.rows(_KEYS_TO_USERS):
            verb = "DELETE FROM" if required else "UPDATE"
            change = "" if required else f" SET {column} = NULL"
            self.session.execute(f"{verb} {table}{change} WHERE {column} = {gone}")
        self.session.execute("DELETE FROM users WHERE id = %s", (gone,))
        return gone

    @property
    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Noted)]


@pytest.fixture
def place(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Place:
    session = opened(database_at(HEAD))
    session.execute(TENANTS)
    return Place(session=session, events=[])


def _left(session: Session) -> list[tuple[str, str]]:
    return [(entry.kind, entry.name) for entry in archive.entries(session)]


def _schemas(session: Session) -> list[Any]:
    return session.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'opssight_archive%'")


@pytest.mark.parametrize("below", [START, "85832f9f86ce", TARGET])
def test_down_and_up_again_brings_every_row_home_and_leaves_no_archive(
    place: Place, below: str
) -> None:
    catalogue, rows = catalogue_text(place.session), place.rows()

    place.down(below)
    if below == START:
        assert catalogue_text(place.session) == golden_text(START)
    else:
        assert without_shims(place.session) == (golden_text(below), shims_up_to(below))
    place.up()

    assert catalogue_text(place.session) == catalogue
    assert place.rows() == rows
    assert _schemas(place.session) == []
    assert place.notes == []


def test_the_archive_names_what_it_keeps(place: Place) -> None:
    place.down(START)

    found = archive.entries(place.session)
    kept = {entry.name: archive.rows_of(place.session, entry) for entry in found}
    users = int(place.session.scalar("SELECT count(*) FROM users"))
    acme = int(place.session.scalar("SELECT count(*) FROM users WHERE id % 3 = 0"))
    assert {entry.schema for entry in found} == {ARCHIVE}
    assert {entry.name for entry in found if entry.kind == "table"} == set(_EVERYWHERE)
    assert {entry.name for entry in found if entry.kind == "type"} == {
        "auditoperation",
        "auditseverity",
    }
    assert kept["organizations"] == 2
    assert kept["user_roles"] == kept["user_permissions"] == users
    assert kept["users.organization_id"] == acme
    assert kept["projects.organization_id"] == 0
    assert kept["roles.organization_id"] == 1
    assert kept["user_permissions.granted_by"] == users
    text = archive.sentence_of(place.session, ARCHIVE, found)
    assert f"user_roles {users:,} rows" in text
    assert "auditoperation" not in text


@pytest.mark.needs_superuser("it makes a role that owns the users")
def test_the_archive_has_the_owner_of_the_users(place: Place) -> None:
    place.session.execute("CREATE ROLE archive_keeper")
    try:
        place.session.execute("ALTER TABLE users OWNER TO archive_keeper")
        place.down(TARGET)

        owners = place.session.rows(
            "SELECT pg_get_userbyid(nspowner)::text, pg_get_userbyid(relowner)::text"
            "  FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid"
            " WHERE nspname = %s AND relname = 'archive_contents'",
            (ARCHIVE,),
        )
        assert owners == [("archive_keeper", "archive_keeper")]
    finally:
        place.session.execute("REASSIGN OWNED BY archive_keeper TO CURRENT_USER")
        place.session.execute("DROP OWNED BY archive_keeper")
        place.session.execute("DROP ROLE archive_keeper")


def test_a_downgrade_without_an_archive_still_refuses(place: Place) -> None:
    before = place.rows()

    with pytest.raises(RowsWouldBeLostError, match=r"user_permissions\.granted_by: 200"):
        chain.downgrade(chain.Drive(session=place.session), BEFORE[HEAD])

    assert place.rows() == before


def test_the_first_revision_goes_down_with_no_row_into_any_archive(populated: Session) -> None:
    with pytest.raises(RowsWouldBeLostError, match="users: 200"):
        chain.downgrade(chain.Drive(session=populated, archive=ARCHIVE), "base")

    assert _schemas(populated) == []


def _by_pieces(session: Session, go: Callable[[Session], None]) -> int:
    stepping = Stepping(session.connection)
    for deaths in range(300):
        try:
            go(stepping)
        except PullThePlugError:
            continue
        return deaths
    raise AssertionError("some piece is done anew each time")


def test_down_and_up_go_on_from_every_committed_piece(place: Place) -> None:
    catalogue, rows = catalogue_text(place.session), place.rows()

    def down(session: Session) -> None:
        chain.downgrade(chain.Drive(session=session, archive=ARCHIVE), START)

    def up(session: Session) -> None:
        chain.upgrade(chain.Drive(session=session), HEAD)

    assert _by_pieces(place.session, down) > 40
    assert catalogue_text(place.session) == golden_text(START)
    assert _by_pieces(place.session, up) > 80
    assert catalogue_text(place.session) == catalogue
    assert place.rows() == rows
    assert _schemas(place.session) == []


@pytest.mark.parametrize("pieces", [4, 16, 30, 42])
def test_a_way_down_that_died_can_be_gone_up_again_from_there(place: Place, pieces: int) -> None:
    rows = place.rows()
    stepping = Stepping(place.session.connection)
    for _ in range(pieces):
        with pytest.raises(PullThePlugError):
            chain.downgrade(chain.Drive(session=stepping, archive=ARCHIVE), START)

    # The revision at which it died stands stamped above a catalogue that lacks pieces of it.
    current = catalog.current_revision(place.session)
    assert current is not None
    place.down(BEFORE.get(current, START))
    place.up()

    assert place.rows() == rows
    assert _schemas(place.session) == []


@pytest.mark.parametrize("pieces", [11, 31, 51, 71])
def test_a_way_up_that_died_can_be_gone_down_again_into_another_archive(
    place: Place, pieces: int
) -> None:
    rows = place.rows()
    place.down(START)
    bottom = place.rows()
    stepping = Stepping(place.session.connection)
    for _ in range(pieces):
        with pytest.raises(PullThePlugError):
            chain.upgrade(chain.Drive(session=stepping), HEAD)
    current = catalog.current_revision(place.session)
    assert current is not None
    following = IDS[IDS.index(current) + 1]

    second = chain.Drive(session=place.session, archive=archive.name_for("r2"))
    chain.undo_unstamped(second, following)
    chain.downgrade(second, START)
    assert catalogue_text(place.session) == golden_text(START)
    assert place.rows() == bottom
    place.up()

    assert place.rows() == rows
    assert _schemas(place.session) == []


def test_rows_whose_parent_was_deleted_meanwhile_stay_and_are_named(place: Place) -> None:
    rows = place.rows()
    place.down(START)
    gone = place.delete_user()
    place.up()

    kept = {
        (entry.kind, entry.name): archive.rows_of(place.session, entry)
        for entry in archive.entries(place.session)
    }
    assert kept == {
        ("orphans", "user_roles"): 1,
        ("orphans", "events"): 1,
        ("orphans", "user_permissions"): 1,
        ("column", "user_permissions.granted_by"): 1,
        ("column", "users.organization_id"): 1,
    }
    assert any(f"1 rows of user_roles stay in {ARCHIVE}" in note for note in place.notes)
    assert place.session.rows(f"SELECT user_id FROM {ARCHIVE}.user_roles__orphans") == [(gone,)]
    home = place.rows()
    assert home["user_roles"].rows == rows["user_roles"].rows - 1
    assert home["events"].rows == rows["events"].rows - 1
    assert home["metrics"] == rows["metrics"]
    assert without_shims(place.session) == (golden_text(HEAD), shims_up_to(HEAD))


def test_a_row_stays_together_with_the_row_that_it_points_at(
    place: Place, opened: Callable[[str], Session]
) -> None:
    place.down(START)
    parent = int(place.session.scalar(f"SELECT min(id) FROM {ARCHIVE}.events"))
    user = place.session.scalar(f"SELECT triggered_by FROM {ARCHIVE}.events WHERE id = {parent}")
    family = place.session.scalar(
        f"SELECT count(*) FROM {ARCHIVE}.events WHERE parent_event_id = {parent} OR id = {parent}"
    )
    by_hand = opened(as_superuser(place.session.connection.info.dsn))
    by_hand.execute("SET session_replication_role = replica")
    by_hand.execute("DELETE FROM users WHERE id = %s", (user,))

    place.up("b521a10e8182")

    [left] = archive.named(place.session, "orphans", "events")
    assert archive.rows_of(place.session, left) == family > 50
    state = catalog.constraint_state(place.session, "events", "events_triggered_by_fkey")
    assert state is not None
    assert state.validated


def test_what_the_old_release_wrote_meanwhile_belongs_to_the_usual_organization(
    place: Place,
) -> None:
    usual = place.session.scalar("SELECT id FROM organizations WHERE slug = 'default'")
    place.down(START)
    place.session.execute(
        "INSERT INTO users (github_id, github_username, is_active, is_superuser)"
        " VALUES ('n', 'new', true, false)"
    )
    place.up()

    found = place.session.scalar("SELECT organization_id FROM users WHERE github_id = 'n'")
    assert found == usual


def test_a_value_written_between_the_copy_and_the_lock_is_kept(
    place: Place, database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    place.down(MULTI_TENANCY)
    other = opened(place.session.connection.info.dsn)
    written: list[int] = []

    def somebody_writes() -> None:
        copied = archive.named(place.session, "column", "users.organization_id")
        if copied and not written:
            written.append(
                other.execute(
                    "UPDATE users SET organization_id = (SELECT max(id) FROM organizations)"
                    " WHERE id = (SELECT min(id) FROM users WHERE id % 3 = 1)"
                )
            )

    drive = chain.Drive(session=place.session, archive=ARCHIVE, pause_point=somebody_writes)
    chain.downgrade(drive, START)
    place.up()

    assert written == [1]
    moved = place.session.scalar(
        "SELECT organization_id = (SELECT id FROM organizations WHERE slug = 'acme')"
        "  FROM users WHERE id = (SELECT min(id) FROM users WHERE id % 3 = 1)"
    )
    assert moved is True


def test_an_archive_of_another_shape_is_left_alone(place: Place) -> None:
    place.down(TARGET)
    place.session.execute(f"ALTER TABLE {ARCHIVE}.user_permissions DROP COLUMN is_active")

    place.up()

    assert place.session.scalar("SELECT count(*) FROM user_permissions") == 0
    [left] = archive.named(place.session, "table", "user_permissions")
    assert archive.rows_of(place.session, left) == 200
    assert without_shims(place.session)[0] == golden_text(HEAD)


def test_of_two_archives_the_newer_one_comes_home(place: Place) -> None:
    place.down(TARGET)
    place.session.execute(f"ALTER TABLE {ARCHIVE}.user_permissions DROP COLUMN is_active")
    place.up()
    place.session.execute(
        "INSERT INTO user_permissions (user_id, permission_id, is_active)"
        " SELECT min(u.id), min(p.id), true FROM users AS u, permissions AS p"
    )
    place.session.execute(
        f"ALTER TABLE {ARCHIVE}.user_permissions ADD COLUMN is_active boolean NOT NULL DEFAULT true"
    )
    place.down(TARGET, archive.name_for("r2"))
    place.up()

    assert place.session.scalar("SELECT count(*) FROM user_permissions") == 1
    assert [
        entry.schema for entry in archive.named(place.session, "table", "user_permissions")
    ] == [ARCHIVE]


def test_a_foreign_key_that_a_dba_added_comes_back_as_it_was(place: Place) -> None:
    place.session.execute("CREATE TABLE public.causes (id serial PRIMARY KEY)")
    place.session.execute(
        "ALTER TABLE events ADD COLUMN cause_id int"
        " CONSTRAINT events_cause REFERENCES causes ON DELETE SET NULL DEFERRABLE"
    )
    before = catalogue_text(place.session)

    place.down("85832f9f86ce")
    place.up()

    assert catalogue_text(place.session) == before


def test_a_view_on_what_goes_is_named_although_rows_would_be_archived(place: Place) -> None:
    place.session.execute("CREATE VIEW public.tenants AS SELECT id, organization_id FROM users")
    place.down(MULTI_TENANCY)
    before = place.rows()

    with pytest.raises(RefusedError, match=r"users\.organization_id .*view public\.tenants"):
        place.down(START)

    assert place.rows() == before


def test_no_table_is_rewritten_on_the_way_down_and_up(place: Place) -> None:
    before = {table: catalog.filenode_of(place.session, table) for table in TABLES_AT_START}
    moved = catalog.filenode_of(place.session, "user_roles")

    place.down(START)
    place.up()

    assert {t: catalog.filenode_of(place.session, t) for t in TABLES_AT_START} == before
    assert catalog.filenode_of(place.session, "user_roles") == moved


@pytest.fixture
def many(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Any value off the usual is one too many to be read under the lock."""
    monkeypatch.setattr(following, "FEW_ROWS", 0)
    monkeypatch.setattr(following, "_BATCH_ROWS", 7)
    return place


def test_with_many_values_down_and_up_lose_none_and_leave_no_trigger(many: Place) -> None:
    catalogue, rows = catalogue_text(many.session), many.rows()

    many.down(START)
    assert catalogue_text(many.session) == golden_text(START)
    assert many.session.rows("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
    many.up()

    assert catalogue_text(many.session) == catalogue
    assert many.rows() == rows
    assert _schemas(many.session) == []


def test_what_is_written_while_many_values_are_copied_is_followed(
    many: Place, opened: Callable[[str], Session]
) -> None:
    many.down(MULTI_TENANCY)
    other = opened(many.session.connection.info.dsn)
    acme = other.scalar("SELECT id FROM organizations WHERE slug = 'acme'")
    usual = other.scalar("SELECT id FROM organizations WHERE slug = 'default'")
    ids = [one for (one,) in other.rows("SELECT id FROM users ORDER BY id")]
    written: list[str] = []

    def somebody_writes() -> None:
        if written or not following.follows(many.session, "users"):
            return
        if not other.scalar(f"SELECT count(*) FROM {ARCHIVE}.users__organization_id"):
            return
        change = "UPDATE users SET organization_id = %s WHERE id = %s"
        for one in (ids[0], ids[-1]):
            other.execute(change, (acme, one))
        for one in (ids[2], ids[-2]):
            other.execute(change, (usual, one))
        other.execute(
            "INSERT INTO users (github_id, github_username, is_active, is_superuser,"
            " organization_id) VALUES ('n', 'new', true, false, %s)",
            (acme,),
        )
        written.append("written")

    drive = chain.Drive(session=many.session, archive=ARCHIVE, pause_point=somebody_writes)
    wanted = "SELECT id, organization_id FROM users ORDER BY id"
    seen: list[Any] = []

    def last_look(event: Event) -> None:
        if (
            isinstance(event, StatementStarted)
            and event.what == "DROP COLUMN users.organization_id"
        ):
            seen.extend(other.rows(wanted))

    chain.downgrade(replace(drive, emit=last_look), START)
    many.up()

    assert written == ["written"]
    assert many.session.rows(wanted) == seen
    assert len(seen) == len(ids) + 1


def test_with_many_values_every_committed_piece_can_be_gone_on_from(many: Place) -> None:
    rows = many.rows()

    def down(session: Session) -> None:
        chain.downgrade(chain.Drive(session=session, archive=ARCHIVE), START)

    assert _by_pieces(many.session, down) > 40
    assert catalogue_text(many.session) == golden_text(START)
    many.up()
    assert many.rows() == rows


@pytest.mark.needs_superuser("it makes the role that has no rights")
def test_a_role_without_rights_in_the_archive_writes_on_while_it_is_followed(
    many: Place, opened: Callable[[str], Session]
) -> None:
    many.down(MULTI_TENANCY)
    other = opened(many.session.connection.info.dsn)
    many.session.execute("CREATE ROLE archive_writer")
    try:
        many.session.execute("GRANT SELECT, UPDATE ON users, organizations TO archive_writer")
        other.execute("SET ROLE archive_writer")
        written: list[int] = []

        def application_writes() -> None:
            if following.follows(many.session, "users") and not written:
                change = "UPDATE users SET organization_id = (SELECT max(id) FROM organizations)"
                written.append(other.execute(change))

        drive = chain.Drive(session=many.session, archive=ARCHIVE, pause_point=application_writes)
        chain.downgrade(drive, START)

        assert written == [200]
        [kept] = archive.named(many.session, "column", "users.organization_id")
        assert archive.rows_of(many.session, kept) == 200
    finally:
        other.execute("RESET ROLE")
        many.session.execute("DROP OWNED BY archive_writer")
        many.session.execute("DROP ROLE archive_writer")
