"""Long lines on a narrow terminal: words stay whole, and so does what is copied from there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opssight_migrate.render.folding import folded

ROW = "  1  85f9e3f15142 multi-tenancy  schema     -  archive  <1 s / 2.2 s  ACCESS EXCLUSIVE 5 x"


def test_a_line_that_fits_stays_as_it_is() -> None:
    assert folded(ROW, len(ROW)) == [ROW]


def test_a_sentence_is_broken_between_words_and_goes_on_indented() -> None:
    assert folded("Locks of users: ACCESS EXCLUSIVE teams, users.", 30) == [
        "Locks of users: ACCESS",
        "  EXCLUSIVE teams, users.",
    ]


def test_the_last_column_of_a_row_goes_on_below_itself_where_there_is_room() -> None:
    assert folded("  ok       name  " + "word " * 10, 50) == [
        "  ok       name  word word word word word word",
        "                 word word word word",
    ]


def test_and_below_the_second_column_where_there_is_none() -> None:
    assert folded(ROW, 80) == [
        "  1  85f9e3f15142 multi-tenancy  schema     -  archive  <1 s / 2.2 s",
        "     ACCESS EXCLUSIVE 5 x",
    ]


@pytest.mark.parametrize(
    "copied",
    [
        'help:  GRANT SELECT ON TABLE "public"."users" TO "app"; GRANT USAGE ON SCHEMA public TO a',
        '  SELECT * FROM "audit_configurations" WHERE "organization_id" IS DISTINCT FROM 1',
        "manifest: /var/lib/opssight-migrate/backups/backup_local_20261124T151316103495Z.json",
        "  help: opssight-migrate cleanup --shims -e local --confirm old-release-is-gone",
    ],
)
def test_what_is_copied_stays_in_one_piece(copied: str) -> None:
    assert folded(copied, 40) == [copied]


def test_the_reason_of_a_next_command_goes_below_it() -> None:
    assert folded("next: opssight-migrate status -e staging  (where it is)", 50) == [
        "next: opssight-migrate status -e staging",
        "  (where it is)",
    ]


@given(st.text(alphabet="ab ,:(.", min_size=1), st.integers(min_value=20, max_value=60))
def test_no_word_is_lost_or_broken(line: str, columns: int) -> None:
    assert " ".join(folded(line, columns)).split() == line.split()
