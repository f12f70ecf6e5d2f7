"""tenants-do-not-mix in a database of three organizations: guests, parents, and nobody's rows."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from tests.checks.conftest import failures, outcome
from tests.checks.planting import DATA
from tests.least import WORKER, Place
from tests.migrated import PlaceBy

from opssight_migrate.checks.audit_log_takes_rows import AuditLogTakesRows
from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.owners_and_grants_are_alike import OwnersAndGrantsAreAlike
from opssight_migrate.checks.permissions_are_kept import PermissionsAreKept
from opssight_migrate.checks.tenants_do_not_mix import TenantsDoNotMix
from opssight_migrate.checks.time_series_are_hypertables import TimeSeriesAreHypertables
from opssight_migrate.engine import checker
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings.tables import TimeSeries

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def three(
    opened_place: Callable[[Place], str], migrated_by: PlaceBy, opened: Callable[[str], Session]
) -> Session:
    """A session on a correct database of three organizations."""
    conninfo = opened_place(migrated_by(WORKER))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute((DATA / "organizations.sql").read_bytes())
    return opened(conninfo)


def test_a_guest_may_make_things_where_an_assignment_lets_it(three: Session) -> None:
    assert failures(TenantsDoNotMix(), three) == []

    three.execute("DELETE FROM user_roles WHERE user_id = 501001 AND organization_id = 502")

    (found,) = failures(TenantsDoNotMix(), three)
    assert (found.where, found.rows, found.keys) == ("projects.created_by_user_id", 1, ("502003",))


def test_a_lost_foreign_key_is_followed_all_the_same(three: Session) -> None:
    three.execute("ALTER TABLE metrics DROP CONSTRAINT metrics_project_id_fkey")
    three.execute("UPDATE metrics SET project_id = 502001 WHERE id = 501003")

    (found,) = failures(TenantsDoNotMix(), three)

    assert (found.where, found.keys) == ("metrics.project_id", ("501003",))


def test_rows_that_belong_to_nobody_are_counted_in_a_note(three: Session) -> None:
    three.execute(
        "UPDATE alerts SET project_id = NULL, acknowledged_by_user_id = NULL"
        " WHERE id BETWEEN 501000 AND 501009"
    )
    told = {f.where: f.rows for f in outcome(TenantsDoNotMix(), three).findings}

    nobody = "SELECT count(*) FROM alerts WHERE id BETWEEN 501000 AND 501009"
    assert told["alerts"] is not None
    assert told["alerts"] >= three.scalar(nobody) == 10


def test_a_probe_leaves_neither_row_nor_gap(three: Session) -> None:
    state = "SELECT (SELECT count(*) FROM audit_logs), last_value FROM audit_logs_id_seq"
    before = three.rows(state)
    probing = CheckContext(session=three, probing=True)

    (found,) = checker.run_checks([AuditLogTakesRows()], probing)

    assert (found.skipped, found.findings) == (None, ())
    assert three.rows(state) == before


def test_a_probe_that_is_refused_is_a_finding(three: Session) -> None:
    three.execute("ALTER TABLE audit_logs ADD CHECK (id > 0)")

    (found,) = checker.run_checks([AuditLogTakesRows()], CheckContext(session=three, probing=True))

    assert [one.where for one in found.findings] == ["audit_logs"]
    assert outcome(AuditLogTakesRows(), three).skipped == "it writes, and --probe was not given"


def test_plain_time_series_are_skipped_with_the_reason(three: Session) -> None:
    ctx = CheckContext(session=three, time_series=TimeSeries(engine="plain"))

    (found,) = checker.run_checks([TimeSeriesAreHypertables()], ctx)

    assert str(found.skipped).startswith("time_series.engine is plain")


def test_the_configured_default_role_is_what_was_announced(three: Session) -> None:
    engineer = CheckContext(session=three, default_role="ENGINEER")

    (found,) = checker.run_checks([PermissionsAreKept()], engineer)

    without = "SELECT count(*) FROM users WHERE role_id IS NULL AND NOT is_superuser"
    assert [one.rows for one in found.findings] == [three.scalar(without)]
    assert "rbac.default_role is ENGINEER" in found.findings[0].message


def test_a_missing_grant_comes_with_the_statement_that_gives_it(three: Session) -> None:
    three.execute("GRANT SELECT ON users TO PUBLIC")

    found = {one.where: one.sql for one in failures(OwnersAndGrantsAreAlike(), three)}

    assert found["metrics"] == "GRANT SELECT ON TABLE public.metrics TO PUBLIC;"
    assert "users" not in found
