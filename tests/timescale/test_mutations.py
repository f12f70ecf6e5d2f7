"""The faults of mutations.toml that need TimescaleDB: found by name, and nothing else is."""

from __future__ import annotations

import pytest
from tests.checks.planting import (
    DATA,
    ON_TIMESCALEDB,
    Inside,
    Mutation,
    assert_found,
    faults,
    planted,
    told,
)
from tests.steps.conftest import apply_step
from tests.timescale.conftest import Server, context

from opssight_migrate.postgres import latency
from opssight_migrate.settings import Settings
from opssight_migrate.steps.assign_roles import AssignRoles
from opssight_migrate.steps.initialise_audit import InitialiseAudit
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries
from opssight_migrate.steps.settle_organizations import SettleOrganizations

# Somebody has to administer, and on this server nothing else of the sample is there.
_ADMINISTRATOR = """
UPDATE users SET is_superuser = true WHERE id = 501000
"""


@pytest.fixture(scope="module")
def correct(timescale_server: Server) -> Inside:
    """A session on an OpsSight of three organizations, whose series are hypertables."""
    settings = Settings.model_validate(
        {
            "project": {"default_environment": "test"},
            "environments": {"test": {"url": "host=unused"}},
        }
    )
    session = timescale_server.emptied()
    for step in (SettleOrganizations(), AssignRoles(), InitialiseAudit()):
        apply_step(step, session, settings)
    SetUpTimeSeries().apply(context(session, settings))
    session.execute((DATA / "organizations.sql").read_text())
    session.execute(_ADMINISTRATOR)
    return Inside(session.connection)


@pytest.mark.parametrize("mutation", ON_TIMESCALEDB, ids=lambda mutation: mutation["name"])
def test_a_planted_fault_is_found_by_name_and_nothing_else_is(
    correct: Inside, monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    monkeypatch.setattr(latency, "RUNS", 1)  # nothing here is slow

    assert_found(mutation, planted(correct, mutation))


def test_without_them_nothing_is_found_and_they_leave_no_trace(correct: Inside) -> None:
    assert [(one.check_id, told(one)) for one in faults(correct)] == []
