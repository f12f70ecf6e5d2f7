"""Each planted fault of mutations.toml is found by the right checks, by name; nothing else fires.

Add a fault by adding a table to the file: ``sql`` plants it into a correct database of three
organizations, ``finds`` says which checks must find it and what each must name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.conftest import DatabaseAt

from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import CheckContext
from opssight_migrate.engine import baseline, checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight.revisions import AUDIT
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.session import Session

DATA = Path(__file__).parents[1] / "data"
MUTATIONS: list[dict[str, Any]] = tomllib.loads((DATA / "mutations.toml").read_text())["mutation"]
# The statistics know of it at once, and not when the session has been idle for ten seconds.
_COUNTED = "; SELECT pg_stat_force_next_flush()"
_LAST_RUN = "SELECT id, epoch FROM opssight_migrate.runs ORDER BY epoch DESC LIMIT 1"
# What an operator or OpsSight does every day; none of it is a fault.
HARMLESS = {
    "untouched": "",
    "analyzed": "ANALYZE",
    "rewritten": "VACUUM FULL",
    "reindexed": "REINDEX SCHEMA public",
    "clustered": "CLUSTER users USING users_pkey",
    "written by OpsSight": (DATA / "legal_writes.sql").read_text(),
}


def outcomes(session: Session) -> Iterator[Outcome]:
    """Ask every check there is."""
    return checker.run_checks(CHECKS, CheckContext(session=session))


def measure_anew(session: Session) -> None:
    """Store the baseline of the queries again, as ``migrate`` would, over all that is there now."""
    row = session.row(_LAST_RUN)
    assert row is not None
    session.execute("DELETE FROM opssight_migrate.query_baselines")
    run = Journal(session, row[0], row[1], [row[0]])
    baseline.take(session, run, unheard, pause_point=lambda: None)


def faults(session: Session) -> list[Finding]:
    """Return what all checks together find wrong."""
    return [
        finding
        for outcome in outcomes(session)
        for finding in outcome.findings
        if finding.severity is not Severity.NOTE
    ]


def told(finding: Finding) -> str:
    """Return all that a finding says, in one line."""
    return f"{finding.message} | {finding.where} | {', '.join(finding.keys)}"


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation["name"])
def test_a_planted_fault_is_found_by_name_and_nothing_else_is(
    peopled: Session,
    database_at: DatabaseAt,
    opened: Callable[[str], Session],
    mutation: dict[str, Any],
) -> None:
    revision = mutation.get("revision", AUDIT)
    session = peopled if revision == AUDIT else opened(database_at(revision))
    if "volume" in mutation:
        session.execute(sql.SQL(mutation["volume"]))
        measure_anew(session)
    session.execute(sql.SQL(mutation["sql"] + _COUNTED))

    found = faults(session)

    assert {one.check_id for one in found} == set(mutation["finds"]), [
        (one.check_id, told(one)) for one in found
    ]
    for check_id, name in mutation["finds"].items():
        said = [told(one) for one in found if one.check_id == check_id]
        assert any(name in one for one in said), (name, said)


@pytest.mark.parametrize("deed", HARMLESS)
def test_a_correct_database_of_three_organizations_has_no_fault(
    peopled: Session, deed: str
) -> None:
    if HARMLESS[deed]:
        peopled.execute(sql.SQL(HARMLESS[deed]))

    assert [(one.check_id, told(one)) for one in faults(peopled)] == []


def test_there_are_sixty_faults_with_a_name_each_and_every_check_has_one() -> None:
    names = [mutation["name"] for mutation in MUTATIONS]
    caught = {check_id for mutation in MUTATIONS for check_id in mutation["finds"]}
    # These only note, need TimescaleDB or the platform, or write; each has tests of its own.
    elsewhere = {
        "audit-log-takes-rows",
        "json-texts-parse",
        "platform-answers",
        "time-series-are-hypertables",
        "way-back-loses-nothing",
    }

    assert len(names) == len(set(names)) >= 60
    assert caught == {check.id for check in CHECKS} - elsewhere
