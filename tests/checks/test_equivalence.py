"""The closing proof: what it says of everybody's permissions and of the tenants is so."""

from __future__ import annotations

from tests.commands.conftest import run
from tests.conftest import SettingsFor

from opssight_migrate.engine import equivalence
from opssight_migrate.engine.equivalence import Equivalence
from opssight_migrate.opssight.revisions import AUDIT, MULTI_TENANCY
from opssight_migrate.postgres import reader
from opssight_migrate.postgres.session import Session

ON_EVERY_SERVER = False
HAD_NO_ROLE = "SELECT count(*) FROM users WHERE role_id IS NULL"


def read(session: Session) -> Equivalence:
    with session.reading():
        return equivalence.read(session, AUDIT, reader.read_catalogue(session))


def test_a_migration_ends_with_a_word_on_rows_permissions_and_tenants(
    populated: Session, settings_for: SettingsFor
) -> None:
    users = populated.scalar("SELECT count(*) FROM users")
    announced = populated.scalar(HAD_NO_ROLE)

    report = run(settings_for(populated.connection.info.dsn))

    assert report.proof is not None
    proof = report.proof
    assert (proof.users_identical, proof.users_announced) == (users - announced, announced)
    assert (proof.users_differing, proof.cross_tenant_references) == (0, 0)
    assert (
        f"rows: old columns identical; {users - announced} users' permissions identical, "
        f"{announced} given as announced; 0 cross-tenant references; catalogue equal to {AUDIT}"
    ) in proof.sentence
    assert announced > 0


def test_before_the_roles_only_the_tenants_are_spoken_of(
    populated: Session, settings_for: SettingsFor
) -> None:
    settings = settings_for(
        populated.connection.info.dsn,
        project={"default_environment": "test", "target_revision": MULTI_TENANCY},
    )

    report = run(settings)

    assert report.proof is not None
    assert "identical; 0 cross-tenant references; catalogue" in report.proof.sentence
    assert report.proof.users_identical is None


def test_what_is_not_as_it_was_is_counted(peopled: Session) -> None:
    before = read(peopled)
    peopled.execute(
        "UPDATE user_roles SET role_id = (SELECT id FROM roles WHERE name::text = 'SUPER_ADMIN')"
        " WHERE user_id = 501011"
    )
    peopled.execute("DELETE FROM user_roles WHERE user_id = 501012")
    peopled.execute("UPDATE metrics SET project_id = 502001 WHERE id IN (501017, 501018)")

    after = read(peopled)

    assert before.is_given
    assert not after.is_given
    assert before.users is not None
    assert after.users is not None
    assert after.users.identical == before.users.identical - 2
    assert (after.users.unassigned, after.users.differing, after.across) == (1, 1, 2)
    assert after.parts == (
        f"{after.users.identical} users' permissions identical,"
        f" {after.users.announced} given as announced,"
        " 1 that came meanwhile not yet assigned, 1 DIFFERENT",
        "2 cross-tenant references",
    )
