"""assign-roles: users.role_id stands in user_roles, and nobody gains what was not announced."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conftest import DatabaseAt, SettingsFor
from tests.least import as_superuser
from tests.steps.conftest import (
    PullThePlugError,
    apply_step,
    batches_in,
    blockers,
    dying_after,
    estimated,
    row_versions,
    run,
)

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.model.events import Event, PlanMade
from opssight_migrate.opssight import rbac
from opssight_migrate.opssight.revisions import RBAC, START
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.assign_roles import AssignRoles

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

Opened = Callable[[str], Session]
Permissions = dict[int, frozenset[str]]

_USERS = """
INSERT INTO users (id, github_id, github_username, is_active, is_superuser, role_id)
SELECT %(first)s + n, 'more' || %(first)s + n, 'more' || %(first)s + n, %(active)s, %(super)s,
       (SELECT id FROM roles WHERE name::text = %(role)s)
  FROM generate_series(1, %(users)s) AS n
"""
_ORGANIZATION = """
INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active, is_verified,
    subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
VALUES ('Other', 'other', 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'free', 1, 1, 1, 1) RETURNING id
"""
_ASSIGNED = """
SELECT u.id, u.is_active, r.is_active, o.name::text
  FROM users AS u
  LEFT JOIN user_roles AS r ON r.user_id = u.id AND r.organization_id = u.organization_id
  LEFT JOIN roles AS o ON o.id = r.role_id
"""
_ROWS_OF_RBAC = """
SELECT (SELECT array_agg(r ORDER BY id)::text FROM roles AS r),
       (SELECT array_agg(p ORDER BY id)::text FROM permissions AS p),
       (SELECT array_agg(g ORDER BY role_id, permission_id)::text FROM role_permissions AS g)
"""
_PERMISSIONS_BY_ROLE_ID = """
SELECT u.id, p.name::text
  FROM users AS u
  JOIN roles AS r ON r.id = u.role_id AND r.is_active
  JOIN role_permissions AS g ON g.role_id = r.id
  JOIN permissions AS p ON p.id = g.permission_id AND p.is_active
 WHERE u.is_active
"""
_PERMISSIONS_BY_ASSIGNMENT = """
SELECT u.id, p.name::text
  FROM users AS u
  JOIN user_roles AS a ON a.user_id = u.id AND a.is_active
  JOIN roles AS r ON r.id = a.role_id AND r.is_active
  JOIN role_permissions AS g ON g.role_id = r.id
  JOIN permissions AS p ON p.id = g.permission_id AND p.is_active
 WHERE u.is_active
"""


def add_users(
    session: Session,
    users: int,
    *,
    first: int = 500_000,
    role: str | None = None,
    superuser: bool = False,
    active: bool = True,
) -> None:
    """Add users with ids from ``first`` on."""
    values = {"users": users, "first": first, "role": role, "super": superuser, "active": active}
    session.execute(_USERS, values)


def permissions(session: Session, *, assigned: bool) -> Permissions:
    """Return what each user may do, by users.role_id or by user_roles."""
    query = _PERMISSIONS_BY_ASSIGNMENT if assigned else _PERMISSIONS_BY_ROLE_ID
    found: dict[int, set[str]] = {}
    for user, permission in session.rows(query):
        found.setdefault(user, set()).add(permission)
    return {user: frozenset(labels) for user, labels in found.items()}


def announced(notes: tuple[str, ...], pattern: str) -> int:
    """Return the number that one of the announcements begins with, 0 if it is not there."""
    found = [match for note in notes if (match := re.fullmatch(pattern, note))]
    return int(found[0][1].replace(",", "")) if found else 0


@pytest.fixture
def filled(database_at: DatabaseAt, opened: Opened) -> Session:
    """A filled OpsSight at 85832f9f86ce whose user_roles is empty."""
    return opened(database_at(RBAC))


@pytest.fixture
def empty(database_at: DatabaseAt, opened: Opened) -> Session:
    """An OpsSight at 85832f9f86ce without a row, but for an organization."""
    session = opened(database_at(RBAC, False))
    session.rows(_ORGANIZATION)
    session.execute("ALTER TABLE users ALTER organization_id SET DEFAULT 1")
    return session


def test_every_user_with_a_role_has_exactly_that_role_and_nothing_else_changes(
    filled: Session, settings_for: SettingsFor
) -> None:
    rbac_before = filled.rows(_ROWS_OF_RBAC)
    before = row_versions(filled, without=("user_roles",))

    proof = apply_step(AssignRoles(), filled, settings_for("host=unused"))

    wrong = """
    SELECT count(*) FROM users AS u
     WHERE u.role_id IS NOT NULL
       AND (SELECT array_agg(r.role_id) FROM user_roles AS r WHERE r.user_id = u.id)
           IS DISTINCT FROM ARRAY[u.role_id]
    """
    assert filled.scalar(wrong) == 0
    assert filled.rows(_ROWS_OF_RBAC) == rbac_before
    assert row_versions(filled, without=("user_roles",)) == before
    assert proof.identical


def test_the_sample_has_inactive_roles_and_custom_grants_that_would_be_noticed(
    filled: Session,
) -> None:
    inactive = "SELECT count(*) FROM roles WHERE NOT is_active"
    stray = """
    SELECT count(*) FROM role_permissions AS g JOIN roles AS r ON r.id = g.role_id
      JOIN permissions AS p ON p.id = g.permission_id
     WHERE r.name = 'ENGINEER' AND p.name = 'RESOLVE_ALERTS'
    """
    assert filled.scalar(inactive) == 1
    assert filled.scalar(stray) == 1


def test_an_inactive_user_gets_an_inactive_assignment(
    filled: Session, settings_for: SettingsFor
) -> None:
    apply_step(AssignRoles(), filled, settings_for("host=unused"))

    found = filled.rows(_ASSIGNED)
    assert any(not active for _, active, _, _ in found)
    assert all(active == assigned for _, active, assigned, _ in found)


def test_a_superuser_without_a_role_gets_super_admin_and_stays_as_it_is(
    filled: Session, settings_for: SettingsFor
) -> None:
    add_users(filled, 2, superuser=True)

    apply_step(AssignRoles(), filled, settings_for("host=unused"))

    roles = filled.rows(_ASSIGNED + " WHERE u.id IN (500001, 500002)")
    still = "SELECT bool_and(is_superuser), count(role_id) FROM users WHERE id > 500000"
    assert [role for *_, role in roles] == ["SUPER_ADMIN", "SUPER_ADMIN"]
    assert filled.rows(still) == [(True, 0)]


@pytest.mark.parametrize("role", ["VIEWER", "ENGINEER"])
def test_a_user_without_a_role_gets_the_default_role_of_the_settings(
    filled: Session, settings_for: SettingsFor, role: str
) -> None:
    add_users(filled, 3)

    apply_step(AssignRoles(), filled, settings_for("host=unused", rbac={"default_role": role}))

    roles = filled.rows(_ASSIGNED + " WHERE u.role_id IS NULL AND NOT u.is_superuser")
    assert {found for *_, found in roles} == {role}


def test_the_default_role_none_leaves_a_user_without_a_role_without_a_row(
    filled: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused", rbac={"default_role": "none"})
    without = "SELECT count(*) FROM users WHERE role_id IS NULL AND NOT is_superuser"
    planned = estimated(AssignRoles(), filled, settings)

    apply_step(AssignRoles(), filled, settings)

    rows = int(filled.scalar("SELECT count(*) FROM user_roles"))
    users, others = int(filled.scalar("SELECT count(*) FROM users")), int(filled.scalar(without))
    assert others > 0
    assert rows == users - others == planned.rows
    assert announced(planned.notes, r"(\S+) users have no role and get none .*") == others


def test_an_assignment_to_another_role_is_moved_to_role_id_and_never_activated_again(
    filled: Session, settings_for: SettingsFor
) -> None:
    add_users(filled, 2, role="ENGINEER")
    filled.execute("""
        INSERT INTO user_roles (user_id, role_id, organization_id, is_active, notes)
        SELECT u.id, r.id, u.organization_id, u.id = 500001, 'by hand'
          FROM users AS u, roles AS r WHERE u.id > 500000 AND r.name = 'MANAGER'
    """)
    settings = settings_for("host=unused")
    planned = estimated(AssignRoles(), filled, settings)

    apply_step(AssignRoles(), filled, settings)

    found = filled.rows(_ASSIGNED + " WHERE u.id > 500000 ORDER BY u.id")
    assert found == [(500001, True, True, "ENGINEER"), (500002, True, False, "ENGINEER")]
    assert "2 users have another role in user_roles: role_id wins" in planned.notes


def test_an_assignment_that_is_there_is_kept_for_a_user_without_role_id(
    filled: Session, settings_for: SettingsFor
) -> None:
    add_users(filled, 1)
    filled.execute("""
        INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
        SELECT u.id, r.id, u.organization_id, false
          FROM users AS u, roles AS r WHERE u.id = 500001 AND r.name = 'MANAGER'
    """)

    apply_step(AssignRoles(), filled, settings_for("host=unused"))

    assert filled.rows(_ASSIGNED + " WHERE u.id = 500001") == [(500001, True, False, "MANAGER")]


def test_assignments_in_other_organizations_are_left_alone(
    filled: Session, settings_for: SettingsFor
) -> None:
    other = filled.rows(_ORGANIZATION)[0][0]
    filled.execute(
        "INSERT INTO user_roles (user_id, role_id, organization_id, is_active, notes)"
        " SELECT u.id, r.id, %s, true, 'theirs' FROM users AS u, roles AS r"
        " WHERE r.name = 'MANAGER' AND u.role_id <> r.id LIMIT 5",
        (other,),
    )
    theirs = "SELECT id, xmin::text, role_id FROM user_roles WHERE notes = 'theirs' ORDER BY id"
    before = filled.rows(theirs)

    apply_step(AssignRoles(), filled, settings_for("host=unused"))

    assert len(before) == 5
    assert filled.rows(theirs) == before


def test_roles_permissions_and_grants_are_seeded_when_there_are_none(
    empty: Session, settings_for: SettingsFor
) -> None:
    add_users(empty, 1)
    settings = settings_for("host=unused")
    planned = estimated(AssignRoles(), empty, settings)

    apply_step(AssignRoles(), empty, settings)

    counted = """
    SELECT r.name::text, count(*), r.is_system_role, r.is_active
      FROM roles AS r JOIN role_permissions AS g ON g.role_id = r.id
     GROUP BY r.id ORDER BY 2 DESC
    """
    seeded = empty.rows(
        "SELECT count(*), bool_and(is_system_permission), bool_or(category = '') FROM permissions"
    )
    assert empty.rows(counted) == [
        ("SUPER_ADMIN", 32, True, True),
        ("MANAGER", 19, True, True),
        ("ENGINEER", 11, True, True),
        ("VIEWER", 9, True, True),
    ]
    assert seeded == [(32, True, False)]
    grants = empty.rows("""
        SELECT r.name::text, p.name::text FROM role_permissions AS g
          JOIN roles AS r ON r.id = g.role_id JOIN permissions AS p ON p.id = g.permission_id
    """)
    wanted = {(r, p) for r, *_ in empty.rows(counted) for p in rbac.grants_in_database(r)}
    assert set(grants) == wanted
    assert planned.notes[0] == "there are no roles and permissions at all: they are seeded"
    assert [role for *_, role in empty.rows(_ASSIGNED)] == ["VIEWER"]


@pytest.mark.parametrize("stray", ["roles", "permissions", "role_permissions"])
def test_one_stray_row_in_any_of_the_three_tables_means_no_seeding(
    empty: Session, opened: Opened, settings_for: SettingsFor, stray: str
) -> None:
    if stray != "permissions":
        empty.execute("""
            INSERT INTO roles (id, name, display_name, is_active, is_default, priority,
                               is_system_role)
            VALUES (1, 'VIEWER', 'Viewer', true, true, 1, true)""")
    if stray != "roles":
        empty.execute("""
            INSERT INTO permissions (id, name, display_name, category, is_active,
                                     is_system_permission)
            VALUES (1, 'VIEW_USERS', 'View', 'User Management', true, true)""")
    if stray == "role_permissions":
        # Grants without their role: what a repair by hand with triggers off leaves behind.
        by_hand = opened(as_superuser(empty.connection.info.dsn))
        by_hand.execute("SET session_replication_role = replica")
        by_hand.execute("INSERT INTO role_permissions (role_id, permission_id) VALUES (1, 1)")
        by_hand.execute("DELETE FROM roles")
        by_hand.execute("DELETE FROM permissions")
    before = empty.rows(_ROWS_OF_RBAC)

    apply_step(AssignRoles(), empty, settings_for("host=unused"))

    assert empty.rows(_ROWS_OF_RBAC) == before


def test_a_role_that_users_would_get_and_that_is_missing_is_a_blocker(
    filled: Session, settings_for: SettingsFor
) -> None:
    add_users(filled, 2, superuser=True)
    filled.execute("UPDATE users SET role_id = NULL")
    filled.execute("DELETE FROM role_permissions")
    filled.execute("DELETE FROM roles WHERE name IN ('VIEWER', 'SUPER_ADMIN')")

    found = blockers(AssignRoles(), filled, settings_for("host=unused"))

    assert [blocker.where for blocker in found] == ["roles", "roles"]
    assert "would get SUPER_ADMIN, and there is no such role" in found[0].message
    assert "would get VIEWER, and there is no such role" in found[1].message


def test_a_role_that_belongs_to_one_organization_is_not_for_the_others(
    filled: Session, settings_for: SettingsFor
) -> None:
    other = filled.rows(_ORGANIZATION)[0][0]
    filled.execute("UPDATE roles SET organization_id = %s WHERE name = 'VIEWER'", (other,))

    found = blockers(AssignRoles(), filled, settings_for("host=unused"))

    assert len(found) == 1
    assert "would get VIEWER, and there is no such role" in found[0].message


def test_a_default_role_that_seeding_does_not_make_is_a_blocker(
    empty: Session, settings_for: SettingsFor
) -> None:
    add_users(empty, 4)
    settings = settings_for("host=unused", rbac={"default_role": "ADMIN"})

    found = blockers(AssignRoles(), empty, settings)

    assert len(found) == 1
    assert found[0].message == ("4 users without a role would get ADMIN, and there is no such role")


def test_the_missing_default_role_refuses_the_run_before_anything_is_changed(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute("UPDATE users SET role_id = NULL WHERE role_id = 21")
    session.execute("DELETE FROM role_permissions WHERE role_id = 21")
    session.execute("DELETE FROM roles WHERE id = 21")
    settings = settings_for(conninfo)
    before = row_versions(session)

    report = run(settings)

    assert (report.status, report.exit_code) == ("refused", 7)
    assert "would get VIEWER" in report.diagnostics[0].message
    assert row_versions(session) == before


def test_a_second_time_changes_no_row(filled: Session, settings_for: SettingsFor) -> None:
    settings = settings_for("host=unused")
    apply_step(AssignRoles(), filled, settings)
    before = row_versions(filled)

    apply_step(AssignRoles(), filled, settings)

    assert row_versions(filled) == before


def test_a_killed_walk_goes_on_after_the_last_committed_batch(
    filled: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused", defaults={"batch_target": "1ms"})
    add_users(filled, 1300, role="ENGINEER")
    users = int(filled.scalar("SELECT count(*) FROM users"))
    events: list[Event] = []
    with pytest.raises(PullThePlugError):
        apply_step(AssignRoles(), filled, settings, dying_after(2, events))
    conninfo = filled.connection.info.dsn
    filled.close()
    again = opened(conninfo)
    committed = again.rows("SELECT id, xmin::text FROM user_roles ORDER BY id")
    events.clear()

    apply_step(AssignRoles(), again, settings, events.append)

    kept = "SELECT id, xmin::text FROM user_roles WHERE id <= %s ORDER BY id"
    assert 500 <= len(committed) < users
    assert batches_in(events)[0] > len(committed)
    assert batches_in(events)[-1] == users
    assert again.rows(kept, (committed[-1][0],)) == committed
    assert again.scalar("SELECT count(*) FROM user_roles") == users


def test_a_user_who_signs_up_behind_the_walk_is_assigned_in_the_same_run(
    filled: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    other = opened(filled.connection.info.dsn)
    late: list[Event] = []

    def sign_up(event: Event) -> None:
        if not late and batches_in([event]):
            add_users(other, 1, first=0)
            other.close()
            late.append(event)

    proof = apply_step(AssignRoles(), filled, settings_for("host=unused"), sign_up)

    assert proof.differing == ("users",)
    assert "written by others meanwhile, so not comparable: users" in proof.sentence
    assert filled.rows(_ASSIGNED + " WHERE u.id = 1") == [(1, True, True, "VIEWER")]


def test_a_user_given_another_role_behind_the_walk_has_that_role_in_the_end(
    filled: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    other = opened(filled.connection.info.dsn)
    changed: list[int] = []

    def promote(event: Event) -> None:
        if not changed and batches_in([event]):
            changed.append(
                other.scalar("""
                    UPDATE users SET role_id = (SELECT id FROM roles WHERE name = 'MANAGER')
                     WHERE id = (SELECT min(id) FROM users WHERE role_id IN
                                 (SELECT id FROM roles WHERE name = 'VIEWER')) RETURNING id
                """)
            )
            other.close()

    apply_step(AssignRoles(), filled, settings_for("host=unused"), promote)

    assert [role for *_, role in filled.rows(_ASSIGNED + " WHERE u.id = %s", changed)] == [
        "MANAGER"
    ]


def test_users_who_never_stop_coming_and_changing_do_not_keep_the_step_from_its_end(
    filled: Session, opened: Opened, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused", defaults={"batch_target": "1ms"})
    add_users(filled, 5000, role="ENGINEER")
    conninfo = filled.connection.info.dsn
    stopped = threading.Event()

    def live(number: int) -> int:
        session = opened(conninfo)
        done = 0
        while not stopped.is_set():
            add_users(session, 1, first=(1 + number) * 1_000_000 + done, role="VIEWER")
            session.execute(
                "UPDATE users SET role_id = (SELECT id FROM roles WHERE name::text = %s)"
                " WHERE id = %s",
                (("MANAGER", "VIEWER")[done % 2], 500_001 + done % 5000),
            )
            done += 1
        session.close()
        return done

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(live, number) for number in range(2)]
        try:
            apply_step(AssignRoles(), filled, settings)
        finally:
            stopped.set()
    written = [other.result() for other in others]
    assigned = int(filled.scalar("SELECT count(*) FROM user_roles"))
    apply_step(AssignRoles(), filled, settings)

    wrong = "SELECT count(*) FROM users AS u LEFT JOIN user_roles AS r ON r.user_id = u.id"
    assert min(written) > 20
    assert assigned > 5000
    assert (
        filled.scalar(wrong + " WHERE r.role_id IS DISTINCT FROM coalesce(u.role_id, r.role_id)")
        == 0
    )


@pytest.mark.parametrize("default_role", ["VIEWER", "none"])
def test_nobody_gains_a_permission_that_the_plan_did_not_announce(
    database_at: DatabaseAt, opened: Opened, settings_for: SettingsFor, default_role: str
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    settings = settings_for(conninfo, rbac={"default_role": default_role})
    before = permissions(session, assigned=False)
    plans: list[tuple[str, ...]] = []

    def listen(event: Event) -> None:
        if isinstance(event, PlanMade):
            plans.append(event.plan.announcements)

    report = run(settings, MigrateRequest(to=RBAC), emit=listen)

    after = permissions(session, assigned=True)
    gained = {user for user in after if after[user] - before.get(user, frozenset())}
    lost = {user for user in before if before[user] - after.get(user, frozenset())}
    without = "SELECT id FROM users WHERE role_id IS NULL AND is_active AND "
    superusers = {user for (user,) in session.rows(without + "is_superuser")}
    others = {user for (user,) in session.rows(without + "NOT is_superuser")}
    everybody = "SELECT count(*) FROM users WHERE role_id IS NULL AND is_superuser = %s"
    assert report.exit_code == 0
    assert lost == set()
    assert gained == superusers | (others if default_role != "none" else set())
    assert announced(plans[0], r"(\S+) superusers have no role and get SUPER_ADMIN") == (
        session.scalar(everybody, (True,))
    )
    assert announced(plans[0], r"(\S+) users have no role and get (?:VIEWER|none) \(.*\)") == (
        session.scalar(everybody, (False,))
    )


def test_what_is_moved_or_kept_by_the_step_gains_nobody_anything_unannounced(
    filled: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    before = permissions(filled, assigned=False)
    notes = estimated(AssignRoles(), filled, settings).notes

    apply_step(AssignRoles(), filled, settings)

    after = permissions(filled, assigned=True)
    gained = [user for user in after if after[user] - before.get(user, frozenset())]
    without = "SELECT count(*) FROM users WHERE role_id IS NULL"
    superusers = announced(notes, r"(\S+) superusers have no role and get SUPER_ADMIN")
    others = announced(notes, r"(\S+) users have no role and get VIEWER \(.*\)")
    assert superusers + others == filled.scalar(without)
    assert 0 < len(gained) <= superusers + others
