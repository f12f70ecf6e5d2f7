"""Each planted fault of mutations.toml is found by the right checks, by name; nothing else fires.

Add a fault by adding a table to the file: ``sql`` plants it into a correct database of three
organizations, ``finds`` says which checks must find it and what each must name. Those that are
``on_timescaledb`` are planted in tests/timescale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import psycopg
import pytest
from psycopg import sql
from tests.checks.planting import (
    DATA,
    MUTATIONS,
    ON_TIMESCALEDB,
    Inside,
    Mutation,
    assert_found,
    faults,
    planted,
    told,
    work_as,
)
from tests.least import WORKER, LeastAt, as_superuser, derived
from tests.migrated import PlaceBy

from opssight_migrate.checks import CHECKS, rows_are_as_before
from opssight_migrate.engine import baseline
from opssight_migrate.model.events import unheard
from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import latency
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.session import Session

COMMITTED = [one for one in MUTATIONS if one.get("is_committed")]
ROLLED_BACK = [one for one in MUTATIONS if one not in COMMITTED and one not in ON_TIMESCALEDB]
# The statistics know of it at once, and not when the session has been idle for ten seconds.
_COUNTED = "; SELECT pg_stat_force_next_flush()"
_LEFT_DEAD = """
SELECT relname::text FROM pg_stat_user_tables WHERE schemaname = 'public' AND n_dead_tup > 0
"""
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


def measure_anew(session: Session) -> None:
    """Store the baseline of the queries again, as ``migrate`` would, over all that is there now."""
    row = session.row(_LAST_RUN)
    assert row is not None
    session.execute("DELETE FROM opssight_migrate.query_baselines")
    run = Journal(session, row[0], row[1], [row[0]])
    baseline.take(session, run, unheard, pause_point=lambda: None)


def administered(session: Session, statements: str) -> None:
    """Run statements in the database of a session as its administrator would, and go."""
    with psycopg.connect(as_superuser(session.connection.info.dsn), autocommit=True) as other:
        other.execute(sql.SQL(statements))


def swept(session: Session) -> None:
    """Take away the dead rows of a fault that was rolled back: they make queries slower."""
    session.execute("SELECT pg_stat_force_next_flush()")
    for (table,) in session.rows(_LEFT_DEAD):
        session.execute(sql.SQL("VACUUM {}").format(sql.Identifier("public", table)))


@pytest.fixture(scope="session")
def shared(
    server: Cluster, peopled_by: PlaceBy, least_at: LeastAt
) -> Iterator[Callable[[str], Inside]]:
    """Give the superuser's session in which faults are planted in turn, at a revision."""
    with ExitStack() as stack:

        @cache
        def session_at(revision: str) -> Inside:
            peopled = revision == AUDIT
            place = peopled_by(WORKER) if peopled else least_at(revision, True, WORKER)
            _, conninfo = derived(server, place, f"{place.template}_for_faults")
            connection = psycopg.connect(as_superuser(conninfo), autocommit=True)
            found = Inside(stack.enter_context(connection))
            found.prepare()
            return found

        yield session_at


@pytest.mark.parametrize("mutation", ROLLED_BACK, ids=lambda mutation: mutation["name"])
def test_a_planted_fault_is_found_by_name_and_nothing_else_is(
    shared: Callable[[str], Inside], monkeypatch: pytest.MonkeyPatch, mutation: Mutation
) -> None:
    # The server counts what was committed, and this never is: there is nothing to wait for.
    monkeypatch.setattr(rows_are_as_before, "_STATISTICS_S", 0.0)
    # Six runs of each query were a fifth of the time; those that are slow are committed.
    monkeypatch.setattr(latency, "RUNS", 1)
    session = shared(mutation.get("revision", AUDIT))

    found = planted(session, mutation, WORKER)
    swept(session)

    assert_found(mutation, found)


@pytest.mark.parametrize("mutation", COMMITTED, ids=lambda mutation: mutation["name"])
def test_a_fault_that_the_server_has_to_see_whole_is_found_too(
    peopled: Session, mutation: Mutation
) -> None:
    if "volume" in mutation:
        administered(peopled, mutation["volume"])
        measure_anew(peopled)
    administered(peopled, mutation["sql"] + _COUNTED)

    assert_found(mutation, faults(peopled))


def test_the_faults_leave_no_trace_where_they_were_planted(shared: Callable[[str], Inside]) -> None:
    for revision in (AUDIT, START):
        session = shared(revision)
        with session.connection.transaction(force_rollback=True):
            work_as(session, WORKER)
            assert [told(one) for one in faults(session)] == []


@pytest.mark.parametrize("deed", HARMLESS)
def test_a_correct_database_of_three_organizations_has_no_fault(
    peopled: Session, deed: str
) -> None:
    if HARMLESS[deed]:
        administered(peopled, HARMLESS[deed])

    assert [(one.check_id, told(one)) for one in faults(peopled)] == []


def test_there_are_sixty_faults_with_a_name_each_and_every_check_has_one() -> None:
    names = [mutation["name"] for mutation in MUTATIONS]
    caught = {check_id for mutation in MUTATIONS for check_id in mutation["finds"]}
    # These only note, need the platform, or write; each has tests of its own.
    elsewhere = {
        "audit-log-takes-rows",
        "json-texts-parse",
        "platform-answers",
        "way-back-loses-nothing",
    }

    assert len(names) == len(set(names)) >= 60
    assert caught == {check.id for check in CHECKS} - elsewhere
