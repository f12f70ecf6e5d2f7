"""The marker: a database knows its environment, and that it is itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opssight_migrate.model.errors import MarkerError
from opssight_migrate.model.plan import DatabaseFacts
from opssight_migrate.postgres import connect, journal, marker
from opssight_migrate.postgres.marker import Marker
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


@pytest.fixture
def facts(session: Session) -> DatabaseFacts:
    """What the server says of the session's database."""
    return connect.facts(session)


def test_a_database_is_not_marked_before_the_first_run(session: Session) -> None:
    assert marker.read(session) is None


def test_a_mark_is_remembered_and_not_changed_by_the_next_run(
    session: Session, facts: DatabaseFacts
) -> None:
    journal.install(session)
    marker.mark(session, "staging", facts, adopt=False)

    marker.mark(session, "production", facts, adopt=False)

    assert marker.read(session) == Marker("staging", facts.system_identifier, facts.database_oid)


def test_another_environment_is_refused_with_both_names(facts: DatabaseFacts) -> None:
    marked = Marker("production", facts.system_identifier, facts.database_oid)

    with pytest.raises(MarkerError, match="belongs to environment 'production', not 'staging'"):
        marker.is_copy(marked, "staging", facts)

    assert not marker.is_copy(marked, "production", facts)


@pytest.mark.parametrize("changes", [{"system_identifier": "1"}, {"database_oid": 1}])
def test_a_copy_is_told_by_its_server_or_its_number(
    facts: DatabaseFacts, changes: dict[str, str | int]
) -> None:
    marked = Marker("production", facts.system_identifier, facts.database_oid)
    elsewhere = replace(facts, **changes)  # type: ignore[arg-type]

    assert marker.is_copy(marked, "staging", elsewhere)
    assert marker.is_copy(marked, "production", elsewhere)


def test_a_copy_is_adopted_under_its_own_name(session: Session, facts: DatabaseFacts) -> None:
    journal.install(session)
    marker.mark(session, "production", replace(facts, database_oid=1), adopt=False)

    marker.mark(session, "staging", facts, adopt=True)

    marked = marker.read(session)
    assert marked is not None
    assert marked.environment == "staging"
    assert not marker.is_copy(marked, "staging", facts)
