"""rows-are-as-before tells what was altered from what OpsSight wrote, and from what it deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.checks.conftest import failures, outcome
from tests.conftest import DatabaseAt

from opssight_migrate.checks.rows_are_as_before import RowsAreAsBefore
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import ranges
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False


def test_a_migrated_database_passes(migrated: Session) -> None:
    assert outcome(RowsAreAsBefore(), migrated).findings == ()


def test_the_altered_row_is_named_by_its_key(migrated: Session) -> None:
    migrated.execute("UPDATE users SET full_name = full_name || '.' WHERE id = 1063")

    (found,) = failures(RowsAreAsBefore(), migrated)

    assert (found.where, found.rows) == ("users", 1)
    assert [key for key in found.keys if int(key.split("..")[0]) <= 1063] == list(found.keys)


def test_a_wide_table_is_cut_into_ranges_that_hold_the_key(
    migrated: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "RANGES", 4)
    columns = ("id", "full_name")

    whole, parts = ranges.digest_and_ranges(migrated, "users", columns)

    assert 4 <= len(parts) <= 5
    assert sum(part.rows for part in parts) == whole.rows
    assert any(part.lo <= 1063 < part.hi for part in parts)


def test_what_opssight_wrote_is_a_note_and_not_compared(migrated: Session) -> None:
    migrated.execute("UPDATE users SET full_name = 'x', updated_at = now() WHERE id = 1063")

    assert failures(RowsAreAsBefore(), migrated) == []
    (note,) = outcome(RowsAreAsBefore(), migrated).findings
    assert "1 of" in note.message
    assert "written by OpsSight since the last run" in note.message


def test_a_mark_of_the_far_future_is_none(migrated: Session) -> None:
    migrated.execute("UPDATE users SET full_name = 'x', updated_at = '9999-01-01' WHERE id = 1063")

    assert len(failures(RowsAreAsBefore(), migrated)) == 1


def test_a_table_without_marks_cannot_be_judged(migrated: Session) -> None:
    migrated.execute("UPDATE team_memberships SET joined_at = 'epoch'")

    assert failures(RowsAreAsBefore(), migrated) == []
    notes = [f.message for f in outcome(RowsAreAsBefore(), migrated).findings]
    assert any("OpsSight leaves no mark there" in note for note in notes)


def test_rows_that_are_gone_are_a_note_where_the_server_has_counted_anew(migrated: Session) -> None:
    migrated.execute("UPDATE opssight_migrate.snapshots SET writes = 1000000000")
    migrated.execute("TRUNCATE notification_logs")

    assert failures(RowsAreAsBefore(), migrated) == []
    notes = [f.message for f in outcome(RowsAreAsBefore(), migrated).findings]
    assert any("how many were deleted is not known" in note for note in notes)


def test_a_column_of_somebody_s_that_is_gone_keeps_a_table_from_being_compared_and_is_told(
    migrated: Session,
) -> None:
    migrated.execute(
        "UPDATE opssight_migrate.snapshots SET columns = columns || 'dba_region'::text"
    )

    assert failures(RowsAreAsBefore(), migrated) == []
    notes = [f.message for f in outcome(RowsAreAsBefore(), migrated).findings]
    assert "users is not compared: its column dba_region is gone since the last run" in notes


def test_without_a_snapshot_there_is_nothing_to_compare(
    database_at: DatabaseAt, opened: Callable[[str], Session]
) -> None:
    skipped = outcome(RowsAreAsBefore(), opened(database_at(START, False))).skipped
    assert skipped == "no run has kept a snapshot here"
