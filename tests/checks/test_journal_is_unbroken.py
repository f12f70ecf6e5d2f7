"""journal-is-unbroken names a row that was edited, and where rows are missing."""

from __future__ import annotations

from collections.abc import Callable

from tests.checks.conftest import failures, outcome
from tests.conftest import DatabaseAt

from opssight_migrate.checks.journal_is_unbroken import JournalIsUnbroken
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import audit_chain, leftovers
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


def test_a_migrated_database_passes(migrated: Session) -> None:
    assert failures(JournalIsUnbroken(), migrated) == []


def test_it_says_the_same_in_another_time_zone(migrated: Session) -> None:
    migrated.execute("SET TimeZone = 'Asia/Kathmandu'")

    assert failures(JournalIsUnbroken(), migrated) == []


def test_an_edited_row_is_named_by_its_audit_id(migrated: Session) -> None:
    edited = "UPDATE opssight_migrate.audit_rows SET at = at + interval '1 second' WHERE id = 2"
    audit_id = migrated.scalar(edited + " RETURNING audit_id::text")

    (found,) = failures(JournalIsUnbroken(), migrated)

    assert (found.message, found.keys) == ("row 2 was edited", (audit_id,))


def test_a_gap_is_named_by_the_rows_around_it(migrated: Session) -> None:
    migrated.execute("DELETE FROM opssight_migrate.audit_rows WHERE id IN (3, 4)")

    assert [one.message for one in failures(JournalIsUnbroken(), migrated)] == [
        "rows between 2 and 5 were removed"
    ]


def test_a_run_that_cleanup_forgets_leaves_no_gap(migrated: Session) -> None:
    with migrated.writing():
        leftovers.forget_run(migrated, migrated.scalar("SELECT id FROM opssight_migrate.runs"))

    assert migrated.scalar("SELECT count(*) FROM opssight_migrate.audit_rows") == 0
    assert failures(JournalIsUnbroken(), migrated) == []


def test_without_a_journal_there_is_nothing_to_ask(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    skipped = outcome(JournalIsUnbroken(), opened(database_at(START, False))).skipped
    assert skipped == "there is no journal with a chain"


def test_the_last_rows_are_missed_by_the_run_that_wrote_them(migrated: Session) -> None:
    run_id = migrated.scalar("SELECT id FROM opssight_migrate.runs")
    last = "(SELECT max(id) FROM opssight_migrate.audit_rows)"
    migrated.execute(f"DELETE FROM opssight_migrate.audit_rows WHERE id = {last}")

    (found,) = failures(JournalIsUnbroken(), migrated)

    message = f"the last rows of run {run_id} were removed, or computed anew"
    assert (found.message, found.keys) == (message, (run_id,))


def test_a_chain_that_somebody_computed_anew_does_not_end_as_the_run_did(migrated: Session) -> None:
    migrated.execute("UPDATE opssight_migrate.audit_rows SET description = 'x' WHERE id = 2")
    for (audit_id,) in migrated.rows(
        "SELECT audit_id FROM opssight_migrate.audit_rows WHERE id >= 2 ORDER BY id"
    ):
        audit_chain.link(migrated, audit_id)

    (found,) = failures(JournalIsUnbroken(), migrated)

    assert found.message.endswith("were removed, or computed anew")


def test_a_journal_from_before_the_runs_remembered_their_last_link_is_no_fault(
    migrated: Session,
) -> None:
    migrated.execute("ALTER TABLE opssight_migrate.runs DROP COLUMN last_link")

    assert failures(JournalIsUnbroken(), migrated) == []
