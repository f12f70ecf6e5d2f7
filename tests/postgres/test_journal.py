"""The journal: a run says what it does, the next one goes on from there, a stale one stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.conftest import DatabaseAt

from opssight_migrate.model.errors import StaleRunError
from opssight_migrate.opssight.revisions import AUDIT, START
from opssight_migrate.postgres import connect, journal, marker
from opssight_migrate.postgres.journal import Audit, Journal, RunFacts
from opssight_migrate.postgres.session import Session

FACTS = RunFacts(
    command="migrate",
    environment="test",
    tool_version="1.2.3",
    server_version="15.1",
    settings_digest="s",
    plan_digest="p",
    revision_from=START,
    revision_to=AUDIT,
)
_STATUS = "SELECT status FROM opssight_migrate.runs WHERE id = %s"
_SECURITY = Audit(operation="PERMISSION_CHANGE", severity="HIGH", table="user_roles")


@pytest.fixture
def kept(session: Session) -> Session:
    """A session on an empty database with a journal."""
    journal.install(session)
    marker.mark(session, "test", connect.facts(session), adopt=False)
    return session


def test_a_database_without_a_journal_says_so(session: Session) -> None:
    assert not journal.exists(session)
    assert journal.last_run(session) is None


def test_it_can_be_installed_twice(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    journal.install(kept)

    assert journal.exists(kept)
    last = journal.last_run(kept)
    assert last is not None
    assert (last.id, last.status, last.revision_from, last.revision_to, last.error) == (
        first.run_id,
        "running",
        START,
        AUDIT,
        None,
    )


def test_a_run_that_was_killed_is_abandoned_and_gone_on_from(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)

    second = Journal.begin(kept, FACTS)

    assert second.resumes == first.run_id
    assert second.lineage == [first.run_id, second.run_id]
    assert kept.scalar(_STATUS, (first.run_id,)) == "abandoned"


def test_a_run_that_ended_well_is_not_gone_on_from(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    first.end("ok")

    second = Journal.begin(kept, FACTS)

    assert first.resumes is None
    assert second.resumes is None
    assert kept.scalar(_STATUS, (first.run_id,)) == "ok"


def test_a_failed_run_is_gone_on_from_with_its_error_kept(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    first.end("failed", "OM402: no lock")

    second = Journal.begin(kept, FACTS)

    error = "SELECT error FROM opssight_migrate.runs WHERE id = %s"
    assert second.resumes == first.run_id
    assert kept.scalar(error, (first.run_id,)) == "OM402: no lock"


def test_runs_of_another_command_are_no_forebears(kept: Session) -> None:
    Journal.begin(kept, replace(FACTS, command="verify"))

    assert Journal.begin(kept, FACTS).resumes is None


def test_a_stale_run_may_not_write_any_more(kept: Session) -> None:
    stale = Journal.begin(kept, FACTS)
    current = Journal.begin(kept, FACTS)

    with pytest.raises(StaleRunError):
        stale.advance("assign-roles", "users", "7", 1)
    with pytest.raises(StaleRunError):
        stale.step_started("assign-roles", "data")
    current.advance("assign-roles", "users", "7", 1)

    assert current.cursor("assign-roles", "users") == ("7", 1)


def test_no_newer_run_can_begin_between_the_look_and_the_commit(
    kept: Session, opened: Callable[[str], Session]
) -> None:
    book = Journal.begin(kept, FACTS)
    other = opened(kept.connection.info.dsn)
    other.execute("SET lock_timeout = '100ms'")

    with kept.writing():
        book.guard()
        with pytest.raises(Exception, match="lock timeout"):
            Journal.begin(other, FACTS)
        book.advance("assign-roles", "users", "7", 1)

    assert Journal.begin(other, FACTS).cursor("assign-roles", "users") == ("7", 1)


def test_a_cursor_counts_over_the_whole_lineage_and_walks_apart(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    assert first.cursor("assign-roles", "users") == (None, 0)
    first.advance("assign-roles", "users", "10", 4)
    first.advance("assign-roles", "users", "20", 5)
    first.advance("assign-roles", "teams", "99", 1)

    second = Journal.begin(kept, FACTS)
    second.advance("assign-roles", "users", "30", 6)

    assert second.cursor("assign-roles", "users") == ("30", 15)
    assert second.cursor("assign-roles", "teams") == ("99", 1)
    assert second.cursor("settle-organizations", "users") == (None, 0)


def test_a_walk_that_is_rewound_begins_again_and_keeps_its_count(kept: Session) -> None:
    book = Journal.begin(kept, FACTS)
    book.advance("assign-roles", "users", "10", 4)

    book.rewind("assign-roles", "users")

    assert book.cursor("assign-roles", "users") == (None, 4)


def test_a_batch_that_rolls_back_takes_its_cursor_along(kept: Session) -> None:
    book = Journal.begin(kept, FACTS)

    def batch() -> None:
        with kept.writing():
            book.advance("assign-roles", "users", "10", 4)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        batch()

    assert book.cursor("assign-roles", "users") == (None, 0)


def test_a_step_that_an_earlier_run_began_is_known(kept: Session) -> None:
    first = Journal.begin(kept, FACTS)
    begun = first.step_started("85f9e3f15142", "schema")
    first.step_started("assign-roles", "data")
    first.step_ended("assign-roles", "done", 3)

    second = Journal.begin(kept, FACTS)

    assert not begun
    assert second.step_started("85f9e3f15142", "schema")
    assert not second.step_started("assign-roles", "data")


def test_audit_rows_wait_until_there_is_an_audit_log_and_are_written_once(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    session = opened(database_at(AUDIT, False))
    session.execute("ALTER TABLE audit_logs RENAME TO not_yet")
    journal.install(session)
    marker.mark(session, "test", connect.facts(session), adopt=False)
    book = Journal.begin(session, FACTS)
    book.audit(_SECURITY, "first", record="assign-roles", context={"rows": 3})
    waiting = session.scalar(
        "SELECT count(*) FROM opssight_migrate.audit_rows WHERE written_at IS NULL"
    )
    session.execute("ALTER TABLE not_yet RENAME TO audit_logs")

    book.audit(replace(_SECURITY, severity="LOW"), "second", context={})

    rows = session.rows("""
        SELECT operation::text, severity::text, table_name, record_id, description, category,
               correlation_id, additional_context ->> 'run_id', additional_context ->> 'rows'
          FROM audit_logs ORDER BY id
    """)
    common = ("user_roles",)
    assert waiting == 1
    assert rows == [
        ("PERMISSION_CHANGE", "HIGH", *common, "assign-roles", "first", "migration",
         book.run_id, book.run_id, "3"),
        ("PERMISSION_CHANGE", "LOW", *common, None, "second", "migration",
         book.run_id, book.run_id, None),
    ]  # fmt: skip
    left = "SELECT count(*) FROM opssight_migrate.audit_rows WHERE written_at IS NULL"
    assert session.scalar(left) == 0


def test_a_run_says_who_did_it_and_holds_no_secret(kept: Session) -> None:
    book = Journal.begin(kept, FACTS)

    who = """
    SELECT operator, host <> '', pid > 0, os_user <> '', tool_version, settings_digest
      FROM opssight_migrate.runs WHERE id = %s
    """
    assert kept.rows(who, (book.run_id,)) == [("opssight", True, True, True, "1.2.3", "s")]
