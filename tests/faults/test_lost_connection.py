"""A connection that breaks in the middle leaves a database from which the next run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.faults.conftest import Ended, Migrate, Outcome, asked, outcome, runs
from tests.faults.proxy import Proxy

from opssight_migrate.model.events import (
    BatchDone,
    Event,
    ProofStarted,
    RevisionApplied,
    RunFinished,
    RunStarted,
    StatementStarted,
    StepFinished,
)

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'opssight-migrate/%'
"""
WORKING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'opssight-migrate/%'
"""


@dataclass
class Once:
    """Does something at the first event that is like ``at``."""

    at: Callable[[Event], bool]
    do: Callable[[], object]
    done: bool = False

    def __call__(self, event: Event) -> None:
        if not self.done and self.at(event):
            self.done = True
            self.do()


def at_a_statement(what: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, StatementStarted) and event.what.startswith(what)


POINTS: dict[str, Callable[[Event], bool]] = {
    "batch": lambda event: isinstance(event, BatchDone) and event.step_id == "assign-roles",
    "column": at_a_statement("ADD COLUMN users.organization_id"),
    "index": at_a_statement("CREATE INDEX ix_users_email_twin"),
    "validation": at_a_statement("VALIDATE CONSTRAINT users_organization_id_fkey"),
    "stamp": lambda event: isinstance(event, RevisionApplied) and event.revision == "85832f9f86ce",
    "between-steps": lambda event: isinstance(event, StepFinished),
    "proof": lambda event: isinstance(event, ProofStarted),
}


def assert_lost(ended: Ended) -> None:
    """The run says that it lost its connection, and that it can be taken up."""
    assert (ended.report.exit_code, ended.report.status) == (9, "partial")
    (told,) = [told for told in ended.report.diagnostics if told.severity == "error"]
    assert told.code == "OM503", told
    assert told.state is not None
    assert "goes on from there" in told.state
    assert [event.status for event in ended.of(RunFinished)] == ["partial"]


def assert_taken_up(conninfo: str, again: Ended, expected: Outcome) -> None:
    """The next run went on and ended like one that nobody disturbed."""
    assert (again.report.exit_code, again.report.status) == (0, "ok"), again.report.diagnostics
    assert [event.resumes for event in again.of(RunStarted)] == [runs(conninfo)[0][0]]
    assert [status for _, status, _ in runs(conninfo)] == ["abandoned", "ok"]
    assert outcome(conninfo) == expected


@pytest.mark.parametrize("point", POINTS)
def test_a_run_whose_backend_is_terminated_can_be_taken_up(
    crowded: str, migrated: Migrate, undisturbed: Outcome, point: str
) -> None:
    end = Once(POINTS[point], lambda: asked(crowded, END))

    assert_lost(migrated(crowded, also=end))
    assert end.done
    assert_taken_up(crowded, migrated(crowded), undisturbed)


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("point", ["batch", "validation", "stamp"])
def test_a_run_whose_network_breaks_can_be_taken_up(
    crowded: str, migrated: Migrate, undisturbed: Outcome, how: str, point: str
) -> None:
    with Proxy(crowded) as proxy:
        end = Once(POINTS[point], proxy.cut if how == "cut" else proxy.reset)

        assert_lost(migrated(proxy.conninfo, also=end))
        assert end.done
        assert_taken_up(crowded, migrated(proxy.conninfo), undisturbed)


def test_a_lost_connection_leaves_no_session_at_the_server(crowded: str, migrated: Migrate) -> None:
    end = Once(POINTS["batch"], lambda: asked(crowded, END))

    assert_lost(migrated(crowded, also=end))

    assert asked(crowded, WORKING) == [(0,)]
