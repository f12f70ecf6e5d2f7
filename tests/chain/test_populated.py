"""The chain on a database with rows: each revision passes, writes no row, and leaves only shims."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql
from tests.chain.looks import (
    IDS,
    digests,
    filenodes,
    golden_text,
    run_migrate,
    shims_up_to,
    versions_of,
    without_shims,
)
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.opssight import revisions, shims
from opssight_migrate.opssight.revisions import HEAD, START
from opssight_migrate.opssight.tables import TABLES_AT_START, TENANT_TABLES
from opssight_migrate.postgres import catalog, chain, reader, standing
from opssight_migrate.postgres.session import Session

LATER = IDS[1:]
_NEWEST_UPDATE = "SELECT max(updated_at), sum(EXTRACT(epoch FROM updated_at)) FROM users"
_DEFAULT = """
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef AS d JOIN pg_attribute AS a
    ON a.attrelid = d.adrelid AND a.attnum = d.adnum
 WHERE d.adrelid = to_regclass(%s) AND a.attname = %s
"""


def test_each_revision_passes_writes_no_row_and_rewrites_no_table(populated: Session) -> None:
    files = filenodes(populated)
    before = {table: versions_of(populated, table) for table in TABLES_AT_START}
    newest = populated.rows(_NEWEST_UPDATE)
    assert None not in files.values()
    assert all(rows for rows, _ in before.values())

    for revision in LATER:
        chain.upgrade(chain.Drive(session=populated), revision)

        assert catalog.current_revision(populated) == revision
        assert filenodes(populated) == files
        assert {table: versions_of(populated, table) for table in TABLES_AT_START} == before
        assert populated.rows(_NEWEST_UPDATE) == newest


def test_after_each_revision_the_catalogue_is_golden_but_for_the_declared_shims(
    populated: Session,
) -> None:
    for revision in LATER:
        chain.upgrade(chain.Drive(session=populated), revision)

        catalogue, found = without_shims(populated)
        assert found == shims_up_to(revision)
        assert catalogue == golden_text(revision)
        with populated.reading():
            actual = reader.read_catalogue(populated)
            assert standing.altered(populated, revision, actual) == []
            assert standing.additional(revision, actual) == ()


def test_seven_defaults_and_eleven_indexes_stand_at_the_end(populated: Session) -> None:
    chain.upgrade(chain.Drive(session=populated), HEAD)

    organization = populated.scalar("SELECT id FROM organizations")
    values = {
        (shim.table, shim.column): populated.scalar(_DEFAULT, (shim.table, shim.column))
        for shim in shims.DEFAULTS
    }
    assert values == {(table, "organization_id"): str(organization) for table in TENANT_TABLES} | {
        ("permissions", "is_system_permission"): "false",
        ("roles", "is_system_role"): "false",
    }
    unique = [catalog.index_state(populated, shim.index) for shim in shims.ONCE_UNIQUE]
    assert len(unique) == 11
    assert all(state is not None and state.unique and state.valid for state in unique)


def test_what_was_there_belongs_to_the_default_organization_and_is_a_system_role(
    populated: Session,
) -> None:
    chain.upgrade(chain.Drive(session=populated, organization=("Acme", "acme")), revisions.RBAC)

    organizations = populated.rows("SELECT id, name, slug FROM organizations")
    assert [row[1:] for row in organizations] == [("Acme", "acme")]
    for table in TENANT_TABLES:
        found = populated.rows(
            sql.SQL("SELECT DISTINCT organization_id FROM {}").format(sql.Identifier(table))
        )
        assert found == [(organizations[0][0],)]
    assert populated.rows("SELECT DISTINCT is_system_role FROM roles") == [(True,)]
    assert populated.rows("SELECT DISTINCT is_system_permission FROM permissions") == [(True,)]
    assert populated.scalar("SELECT count(*) FROM roles WHERE organization_id IS NOT NULL") == 0


def test_the_digests_over_the_old_columns_are_equal_after_the_whole_chain(
    populated: Session,
) -> None:
    before = digests(populated)
    assert tuple(before) == TABLES_AT_START
    assert all(one.rows for one in before.values())

    chain.upgrade(chain.Drive(session=populated), HEAD)

    assert digests(populated, {name: one.columns for name, one in before.items()}) == before


def test_the_digests_over_the_old_columns_are_equal_after_migrate(
    database_at: DatabaseAt, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    conninfo = database_at(START)
    session = opened(conninfo)
    before = digests(session)

    report, _ = run_migrate(settings_for(conninfo))

    assert report.status == "ok"
    assert report.proof is not None
    assert (report.proof.identical, report.proof.tables) == (True, len(TABLES_AT_START))
    assert report.proof.rows == sum(one.rows for one in before.values())
    assert digests(session, {name: one.columns for name, one in before.items()}) == before
