"""What a DBA has added is kept, listed in the plan, and works on after the migration."""

from __future__ import annotations

from collections.abc import Callable

from tests.commands.conftest import Asked, run
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.verify import verify
from opssight_migrate.model.events import Event, PlanMade, unheard
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import extras
from opssight_migrate.postgres.session import Session

_ADDED = """
CREATE INDEX dba_users_company ON users (company);
CREATE UNIQUE INDEX dba_users_lower ON users (lower(github_username), id);
ALTER TABLE users ADD COLUMN region text NOT NULL DEFAULT 'eu';
ALTER TABLE users ADD CONSTRAINT dba_region CHECK (region <> '');
CREATE TABLE dba_notes (id serial PRIMARY KEY, user_id integer REFERENCES users, note text);
INSERT INTO dba_notes (user_id, note) SELECT id, 'hello' FROM users LIMIT 3;
CREATE SCHEMA monitoring;
CREATE VIEW monitoring.activity AS SELECT role_id, count(*) AS users FROM users GROUP BY role_id;
CREATE VIEW user_names AS SELECT id, full_name, updated_at FROM users;
CREATE MATERIALIZED VIEW project_teams AS
    SELECT p.id, t.name FROM projects AS p JOIN teams AS t ON t.id = p.team_id;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER dba_touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch();
CREATE EXTENSION citext;
"""
_KEPT = {
    "column users.region",
    "check constraint users.dba_region",
    "index users.dba_users_company",
    "index users.dba_users_lower",
    "table dba_notes",
    "sequence dba_notes_id_seq",
    "extension citext",
    "function public.touch()",
    "materialized view public.project_teams",
    "trigger dba_touch on users",
    "view monitoring.activity",
    "view public.user_names",
}


def test_what_a_dba_added_is_listed_and_stands_unchanged_after_the_migration(
    database_at: DatabaseAt, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    session.execute(_ADDED)
    settings = settings_for(conninfo)
    before = extras.read_extras(session)
    rows = "SELECT (SELECT array_agg(v ORDER BY id)::text FROM user_names AS v), count(*)"
    rows += " FROM dba_notes JOIN users ON users.id = user_id WHERE region = 'eu'"
    content = session.rows(rows)
    asked = Asked()
    events: list[Event] = []

    report = run(settings, asked=asked, events=events)

    plans = [event.plan for event in events if isinstance(event, PlanMade)]
    assert (report.exit_code, report.status) == (0, "ok"), report.diagnostics
    assert report.proof is not None
    assert report.proof.identical
    assert set(report.kept) == set(asked.plans[0].kept) == set(plans[0].kept) == _KEPT
    assert extras.read_extras(session) == before
    assert session.rows(rows) == content
    indexes = "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text"
    indexes += " IN ('dba_users_company', 'dba_users_lower')"
    assert session.scalar(indexes) == 2


def test_verify_notes_what_is_not_ours_and_finds_no_fault_in_it(
    database_at: DatabaseAt, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    opened(conninfo).execute(_ADDED)
    settings = settings_for(conninfo)
    run(settings)

    report = verify(settings, settings.profile(None), emit=unheard)

    assert report.exit_code == 0, report.diagnostics
    assert {check.status for check in report.checks} == {"passed", "skipped"}
    notes = {d.message for d in report.diagnostics if d.code == "catalogue-is-golden"}
    assert "column users.region is not ours" in notes
    assert "table dba_notes is not ours" in notes
