"""What a data rollback brings back is equal to what was dumped, whoever does it, under traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.backups.conftest import new_key
from tests.commands.conftest import everything
from tests.commands.test_rollback_data import backed_up, conninfo_of, dropped, restored
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import properties
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_superuser("it makes the roles that it compares")

KEY = new_key()
OWNED = """
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT format('ALTER TABLE public.%I OWNER TO ', relname) AS what FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
             UNION ALL
             SELECT format('ALTER TYPE public.%I OWNER TO ', typname) FROM pg_type
              WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
  LOOP EXECUTE one.what || quote_ident(current_setting('test.owner')); END LOOP;
END $$
"""
_SEQUENCES = """
SELECT sequencename::text, last_value, sequenceowner::text FROM pg_sequences
 WHERE schemaname = 'public' ORDER BY 1
"""
_OBJECTS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text, pg_get_userbyid(c.relowner)::text,
       (SELECT array_agg(g::text ORDER BY g::text) FROM aclexplode(coalesce(c.relacl,
          acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) AS g),
       (SELECT array_agg(a.attname || ' ' || a.attacl::text ORDER BY a.attnum)
          FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attacl IS NOT NULL),
       obj_description(c.oid, 'pg_class'), c.reloptions::text
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('public', 'reports') ORDER BY 1, 2
"""
_REST = """
SELECT 'schema', nspname::text, pg_get_userbyid(nspowner)::text || coalesce(nspacl::text, '')
  FROM pg_namespace WHERE nspname IN ('public', 'reports')
UNION ALL SELECT 'extension', extname::text, extversion || pg_get_userbyid(extowner)::text
  FROM pg_extension
UNION ALL SELECT 'large object', oid::text,
       md5(lo_get(oid))::text || pg_get_userbyid(lomowner)::text || coalesce(lomacl::text, '')
  FROM pg_largeobject_metadata
UNION ALL SELECT 'column', c.relname || '.' || a.attname, col_description(c.oid, a.attnum)
  FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'default', pg_get_userbyid(defaclrole)::text, defaclacl::text FROM pg_default_acl
UNION ALL SELECT 'type', t.typname::text, pg_get_userbyid(t.typowner)::text FROM pg_type AS t
 WHERE t.typnamespace = 'public'::regnamespace
 ORDER BY 1, 2
"""
MORE: tuple[Any, ...] = (
    "CREATE EXTENSION pg_trgm",
    "CREATE SCHEMA reports CREATE VIEW people AS SELECT id, email FROM public.users",
    "CREATE INDEX users_trgm ON users USING gin (email gin_trgm_ops)",
    "COMMENT ON TABLE users IS 'who'",
    "COMMENT ON COLUMN users.email IS 'may be NULL'",
    "GRANT SELECT ON users TO PUBLIC",
    "GRANT UPDATE (bio) ON users TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "ALTER TABLE users SET (fillfactor = 90)",
    "SELECT setval('users_id_seq', 777777)",
    "SELECT lo_from_bytea(424242, '\\x00ff5c')",
    "GRANT SELECT ON LARGE OBJECT 424242 TO PUBLIC",
)
OF_DATABASE = (
    "ALTER DATABASE {} SET work_mem TO '7MB'",
    "ALTER DATABASE {} SET search_path TO public, pg_catalog",
    "COMMENT ON DATABASE {} IS 'production, do not touch'",
    "ALTER DATABASE {} CONNECTION LIMIT 77",
    "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC",
)
_RETRYABLE = {"57P01", "57P02", "57P03", "08006", "08003", "08000", "08001", "3D000", None}


@pytest.fixture(params=["superuser", "owner with CREATEDB"])
def settings(
    request: pytest.FixtureRequest,
    database_at: DatabaseAt,
    settings_for: SettingsFor,
    server: Cluster,
    tmp_path: Path,
) -> Iterator[Settings]:
    """Settings of a database that has more than OpsSight's own, and of whom it belongs to."""
    conninfo = database_at(START)
    name = str(psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"])
    role = None
    if request.param != "superuser":
        role = f"app_{uuid4().hex[:8]}"
        with psycopg.connect(conninfo, autocommit=True) as connection:
            quoted = sql.Identifier(role)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(quoted))
            connection.execute("SELECT set_config('test.owner', %s, false)", (role,))
            connection.execute(OWNED)
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(quoted))
            connection.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), quoted)
            )
        conninfo = psycopg.conninfo.make_conninfo(conninfo, user=role)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in MORE:
            connection.execute(statement)
        for statement in OF_DATABASE:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
    (tmp_path / "identity.txt").write_text(KEY.text)
    keys = {
        "url": conninfo,
        "backup_dir": str(tmp_path / "shelf"),
        "backup_recipients": [KEY.public],
        "backup_identity_command": f"cat {tmp_path / 'identity.txt'}",
    }
    yield settings_for("", environments={"test": keys})
    if role is not None:
        with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
            quoted = sql.Identifier(role)
            connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(quoted))
            connection.execute(sql.SQL("DROP OWNED BY {}").format(quoted))
            connection.execute(sql.SQL("DROP ROLE {}").format(quoted))


def looks(session: Session) -> tuple[Any, ...]:
    """Return all that a restore has to bring back."""
    found = everything(session)
    rows = {name: one for name, one in found.rows.items() if not name.startswith("opssight_")}
    return (
        found.catalogue,
        found.extras,
        rows,
        session.rows(_SEQUENCES),
        session.rows(_OBJECTS),
        session.rows(_REST),
        properties.read_properties(session),
    )


@dataclass
class Client:
    """An application that reads, and connects again whenever it is thrown out."""

    conninfo: str
    errors: list[tuple[float, str | None]] = field(default_factory=list[tuple[float, Any]])
    outages_s: list[float] = field(default_factory=list[float])
    reads: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Read until told to stop."""
        while not self.is_over.is_set():
            try:
                with psycopg.connect(self.conninfo, autocommit=True) as connection:
                    while not self.is_over.is_set():
                        connection.execute("SELECT count(*) FROM users")
                        self.reads += 1
                        if self.errors and len(self.outages_s) == 0:
                            self.outages_s.append(time.monotonic() - self.errors[0][0])
                        time.sleep(0.005)
            except psycopg.Error as error:
                self.errors.append((time.monotonic(), error.sqlstate))
                time.sleep(0.02)


def test_all_is_equal_and_clients_meet_retryable_errors_for_less_than_a_second(
    settings: Settings, opened: Callable[[str], Session]
) -> None:
    conninfo = conninfo_of(settings)
    session = opened(conninfo)
    before = looks(session)
    path = backed_up(settings)
    session.execute("DELETE FROM team_memberships")
    session.execute("SELECT setval('users_id_seq', 999999)")
    session.execute("COMMENT ON TABLE users IS 'something else'")
    session.close()
    clients = [Client(conninfo) for _ in range(3)]
    threads = [threading.Thread(target=one.work) for one in clients]
    for thread in threads:
        thread.start()
    try:
        report = restored(settings, path, terminates=True)
    finally:
        time.sleep(0.3)
        for one in clients:
            one.is_over.set()
        for thread in threads:
            thread.join()

    assert report.exit_code == 0, report.diagnostics
    after = opened(conninfo)
    for ours, theirs in zip(looks(after), before, strict=True):
        assert ours == theirs
    for one in clients:
        assert {state for _, state in one.errors} <= _RETRYABLE
        assert one.outages_s
        assert one.outages_s[0] < 1
    after.close()
    dropped(conninfo, *report.retired)


@pytest.mark.parametrize("settings", ["owner with CREATEDB"], indirect=True)
def test_what_belongs_to_another_role_comes_with_the_grant_that_gives_it_back(
    settings: Settings, opened: Callable[[str], Session], server: Cluster
) -> None:
    conninfo = conninfo_of(settings)
    parts = psycopg.conninfo.conninfo_to_dict(conninfo)
    other = f"other_{uuid4().hex[:8]}"
    names = {"other": sql.Identifier(other), "ours": sql.Identifier(str(parts["user"]))}
    with psycopg.connect(server.conninfo(str(parts["dbname"])), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {other}").format(**names))
        connection.execute(sql.SQL("ALTER TABLE teams OWNER TO {other}").format(**names))
        connection.execute(sql.SQL("GRANT SELECT ON teams, teams_id_seq TO {ours}").format(**names))
        before = looks(opened(conninfo))
        path = backed_up(settings)

        report = restored(settings, path, into=f"beside_{other}")

        assert report.exit_code == 10, report.diagnostics
        hint = report.diagnostics[-1].hint or ""
        assert f'GRANT "{other}" TO this role' in hint
        assert looks(opened(conninfo)) == before
        connection.execute(sql.SQL("ALTER TABLE teams OWNER TO {ours}").format(**names))
        connection.execute(sql.SQL("DROP ROLE {other}").format(**names))
