"""New objects belong to the application, whoever ran the chain: owner, grants, sequences, types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from tests.chain.looks import run_migrate
from tests.conftest import DatabaseAt, SettingsFor, run_on

from opssight_migrate.model.errors import PrivilegeError
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.revisions import HEAD, START, TARGET
from opssight_migrate.postgres import chain
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_superuser("it makes the roles that own, write and migrate")

_GIVE_AWAY = """
DO $$
DECLARE thing record;
BEGIN
    FOR thing IN SELECT format('TABLE public.%I', relname) AS name FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                 UNION ALL
                 SELECT format('TYPE public.%I', typname) FROM pg_type
                  WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', thing.name, {owner});
    END LOOP;
END $$;
"""
_GRANTS = """
GRANT ALL ON SCHEMA public TO {owner};
GRANT USAGE ON SCHEMA public TO {writer}, {reader};
GRANT CREATE ON DATABASE {database} TO {owner};
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO {writer};
GRANT USAGE ON SEQUENCE users_id_seq TO {writer};
GRANT SELECT ON users TO {reader} WITH GRANT OPTION;
GRANT REFERENCES ON users TO PUBLIC
"""
_RELATIONS = """
SELECT c.relname::text, pg_get_userbyid(c.relowner)::text
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = ANY(%s) ORDER BY 1
"""
_TYPES = """
SELECT typname::text, pg_get_userbyid(typowner)::text FROM pg_type
 WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' ORDER BY 1
"""
_ACL = """
SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END,
       pg_get_userbyid(a.grantor)::text, a.privilege_type, a.is_grantable
  FROM pg_class AS c, aclexplode(c.relacl) AS a
 WHERE c.oid = to_regclass('public.' || %s) AND a.grantee <> c.relowner ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class Roles:
    """Roles of one test: the owner of the application's tables, who uses them, who migrates."""

    owner: str
    writer: str
    reader: str
    member: str

    def names(self) -> dict[str, sql.Composable]:
        """Return them for ``sql.SQL.format``."""
        return {
            "owner": sql.Identifier(self.owner),
            "writer": sql.Identifier(self.writer),
            "reader": sql.Identifier(self.reader),
            "member": sql.Identifier(self.member),
        }


@pytest.fixture
def roles(server: Cluster) -> Iterator[Roles]:
    """Make roles that are dropped at the end; ask for them before the database they own."""
    mark = uuid4().hex[:8]
    made = Roles(f"App Owner {mark}", f"app_rw_{mark}", f"app_ro_{mark}", f"member_{mark}")
    names = made.names()
    for statement in (
        "CREATE ROLE {owner}",
        "CREATE ROLE {writer}",
        "CREATE ROLE {reader}",
        "CREATE ROLE {member} LOGIN NOSUPERUSER IN ROLE {owner}",
    ):
        run_on(server, sql.SQL(statement).format(**names))
    yield made
    run_on(server, sql.SQL("DROP ROLE {owner}, {writer}, {reader}, {member}").format(**names))


@pytest.fixture
def owned(
    roles: Roles, database_at: DatabaseAt, opened: Callable[[str], Session]
) -> Callable[[str, bool], str]:
    """Make a database of which everything belongs to the owner, with grants on users."""

    def make(revision: str, filled: bool) -> str:
        conninfo = database_at(revision, filled)
        session = opened(conninfo)
        session.execute(sql.SQL(_GIVE_AWAY).format(owner=sql.Literal(roles.owner)))
        database = sql.Identifier(session.scalar("SELECT current_database()"))
        session.execute(sql.SQL(_GRANTS).format(database=database, **roles.names()))
        return conninfo

    return make


def _as_member(conninfo: str, roles: Roles) -> str:
    return make_conninfo(conninfo, user=roles.member)


def _new_tables(revision: str) -> list[str]:
    return [name for name in golden(revision)["tables"] if name not in golden(START)["tables"]]


@pytest.mark.parametrize("who", ["superuser", "member"])
@pytest.mark.parametrize("filled", [True, False], ids=["populated", "empty"])
def test_what_the_chain_makes_has_the_owner_and_the_grants_of_users(
    owned: Callable[[str, bool], str],
    roles: Roles,
    opened: Callable[[str], Session],
    who: str,
    filled: bool,
) -> None:
    conninfo = owned(START, filled)
    working = opened(conninfo if who == "superuser" else _as_member(conninfo, roles))
    chain.upgrade(chain.Drive(session=working), HEAD)

    session = opened(conninfo)
    of_users = session.rows(_ACL, ("users",))
    assert of_users == [
        ("PUBLIC", roles.owner, "REFERENCES", False),
        (roles.reader, roles.owner, "SELECT", True),
        *(
            (roles.writer, roles.owner, privilege, False)
            for privilege in ("DELETE", "INSERT", "SELECT", "UPDATE")
        ),
    ]
    tables: dict[str, str] = dict(session.rows(_RELATIONS, (["r"],)))
    assert set(tables.values()) == {roles.owner}
    assert set(_new_tables(HEAD)) <= set(tables)
    for table in _new_tables(HEAD):
        assert session.rows(_ACL, (table,)) == of_users

    sequences: dict[str, str] = dict(session.rows(_RELATIONS, (["S"],)))
    assert set(sequences.values()) == {roles.owner}
    new = [name for name in golden(HEAD)["sequences"] if name not in golden(START)["sequences"]]
    assert len(new) == 10
    for sequence in new:
        assert session.rows(_ACL, (sequence,)) == [(roles.writer, roles.owner, "USAGE", False)]

    types: dict[str, str] = dict(session.rows(_TYPES))
    assert {"auditoperation", "auditseverity"} <= set(types)
    assert set(types.values()) == {roles.owner}


@pytest.mark.parametrize("who", ["superuser", "member"])
def test_the_application_can_write_the_new_tables_after_migrate(
    owned: Callable[[str, bool], str],
    roles: Roles,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
    who: str,
) -> None:
    conninfo = owned(START, True)
    login = conninfo if who == "superuser" else _as_member(conninfo, roles)
    report, _ = run_migrate(settings_for(login))
    assert (report.status, report.revision and report.revision.to) == ("ok", TARGET)

    session = opened(conninfo)
    user, role = session.rows("SELECT u.id, u.role_id FROM users AS u WHERE u.id = 1021")[0]
    session.execute(sql.SQL("SET ROLE {writer}").format(**roles.names()))
    organization = session.scalar(
        """
        INSERT INTO organizations (name, slug, timezone, currency, date_format, is_active,
               is_verified, subscription_tier, max_users, max_projects, max_clusters,
               storage_limit_gb)
        VALUES ('Acme', 'acme', 'UTC', 'USD', 'YYYY', true, true, 'free', 1, 1, 1, 1)
        RETURNING id
        """
    )
    assignment = session.scalar(
        """
        INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
        VALUES (%s, %s, %s, true) RETURNING id
        """,
        (user, role, organization),
    )
    assert session.execute("UPDATE user_roles SET notes = 'x' WHERE id = %s", (assignment,)) == 1
    assert session.execute("DELETE FROM user_roles WHERE id = %s", (assignment,)) == 1
    session.execute(sql.SQL("SET ROLE {reader}").format(**roles.names()))
    assert session.scalar("SELECT count(*) FROM organizations") == 2
    with pytest.raises(PrivilegeError):
        session.execute("DELETE FROM organizations")


def test_a_role_that_may_not_give_the_new_tables_to_their_owner_is_refused_at_once(
    owned: Callable[[str, bool], str],
    roles: Roles,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
) -> None:
    conninfo = owned(START, True)
    session = opened(conninfo)
    session.execute(sql.SQL("REVOKE {owner} FROM {member}").format(**roles.names()))

    report, _ = run_migrate(settings_for(_as_member(conninfo, roles)))

    assert (report.status, report.exit_code) == ("refused", 7)
    assert report.diagnostics[-1].code == PrivilegeError.code
    assert session.scalar("SELECT to_regnamespace('opssight_migrate')") is None
    assert session.scalar("SELECT version_num FROM alembic_version") == START


def test_a_stamp_that_may_not_be_written_is_refused_before_the_first_change(
    owned: Callable[[str, bool], str],
    roles: Roles,
    opened: Callable[[str], Session],
    settings_for: SettingsFor,
) -> None:
    conninfo = owned(START, True)
    session = opened(conninfo)
    session.execute("ALTER TABLE alembic_version OWNER TO CURRENT_USER")
    session.execute(sql.SQL("GRANT SELECT ON alembic_version TO {member}").format(**roles.names()))

    report, _ = run_migrate(settings_for(_as_member(conninfo, roles)))

    assert (report.status, report.exit_code) == ("refused", 7)
    refusal = report.diagnostics[-1]
    assert (refusal.code, refusal.location) == (PrivilegeError.code, "public.alembic_version")
    assert session.scalar("SELECT to_regnamespace('opssight_migrate')") is None
    assert not session.scalar("SELECT to_regclass('organizations')")

    assert refusal.hint is not None
    session.execute(refusal.hint.split(";")[0])
    assert run_migrate(settings_for(_as_member(conninfo, roles)))[0].status == "ok"
