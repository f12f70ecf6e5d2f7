"""A walk over a UUID key: the cursor is text, and there is no zero to begin at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from tests.conftest import DatabaseAt, SettingsFor
from tests.steps.conftest import PullThePlugError, apply_step, batches_in, dying_after

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.model.events import Event
from opssight_migrate.model.plan import Estimate, Finding, Severity
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import sql
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.postgres.session import Session
from opssight_migrate.steps.base import BatchedStep, StepContext, Walk

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_LETTERS = """
CREATE TABLE letters (key uuid PRIMARY KEY, words text NOT NULL, times_done int NOT NULL DEFAULT 0);
INSERT INTO letters (key, words)
SELECT md5(n::text)::uuid, 'letter ' || n FROM generate_series(1, 3000) AS n;
INSERT INTO letters VALUES ('00000000-0000-0000-0000-000000000000', 'the first of all', 0)
"""
_READ = """
WITH batch AS (
    SELECT key FROM letters WHERE %(after)s::uuid IS NULL OR key > %(after)s::uuid
     ORDER BY key LIMIT %(limit)s
), done AS (
    UPDATE letters AS l SET times_done = times_done + 1 FROM batch
     WHERE l.key = batch.key AND l.times_done = 0
 RETURNING l.key
)
SELECT (SELECT key::text FROM batch ORDER BY key DESC LIMIT 1), (SELECT count(*) FROM done)
"""
_TIMES = "SELECT times_done, count(*) FROM letters GROUP BY 1"
_REFUSED = "3f000000-0000-0000-0000-000000000000"


class ReadLetters(BatchedStep):
    """Read each letter once."""

    id = "read-letters"
    title = "Read the letters"
    needs = START
    audit = Audit(operation="UPDATE", severity="LOW", table="letters")

    def estimate(self, ctx: StepContext) -> Estimate:
        """All of them."""
        del ctx
        return Estimate(rows=3001)

    def walks(self, ctx: StepContext) -> Iterable[Walk]:
        """By their UUID."""
        del ctx
        yield Walk(table="letters", batch_sql=sql.SQL(_READ), key="key")

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """None is unread."""
        if left := ctx.session.scalar("SELECT count(*) FROM letters WHERE times_done = 0"):
            yield Finding(
                check_id=self.id, severity=Severity.FAIL, message="unread letters", rows=left
            )


@pytest.fixture
def letters(database_at: DatabaseAt, opened: Callable[[str], Session]) -> Session:
    """An OpsSight without rows, beside it 3,001 letters, one of them with the smallest UUID."""
    session = opened(database_at(START, False))
    session.execute(_LETTERS)
    return session


def test_every_row_is_done_once(letters: Session, settings_for: SettingsFor) -> None:
    events: list[Event] = []
    apply_step(ReadLetters(), letters, settings_for("host=unused"), events.append)
    assert letters.rows(_TIMES) == [(1, 3001)]
    assert batches_in(events)[-1] == 3001


def test_a_killed_walk_goes_on_and_does_no_row_twice(
    letters: Session, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    settings = settings_for("host=unused")
    with pytest.raises(PullThePlugError):
        apply_step(ReadLetters(), letters, settings, dying_after(2, []))
    again = opened(letters.connection.info.dsn)
    events: list[Event] = []
    apply_step(ReadLetters(), again, settings, events.append)
    assert again.rows(_TIMES) == [(1, 3001)]
    assert batches_in(events)[0] > 500


def test_a_row_that_appears_behind_the_cursor_is_found_and_the_walk_rewound(
    letters: Session, opened: Callable[[str], Session], settings_for: SettingsFor
) -> None:
    other = opened(letters.connection.info.dsn)

    def late(event: Event) -> None:
        if batches_in([event]):
            other.execute(
                "INSERT INTO letters VALUES ('00000000-0000-0000-0000-000000000001', 'late')"
                " ON CONFLICT DO NOTHING"
            )

    apply_step(ReadLetters(), letters, settings_for("host=unused"), late)
    assert letters.rows(_TIMES) == [(1, 3002)]


def test_the_row_to_blame_is_named_by_its_uuid(letters: Session, settings_for: SettingsFor) -> None:
    letters.execute("INSERT INTO letters VALUES (%s, 'no')", (_REFUSED,))
    letters.execute("ALTER TABLE letters ADD CHECK (words <> 'no' OR times_done = 0)")
    with pytest.raises(StepFailedError, match=f"letters with key {_REFUSED} cannot be done"):
        apply_step(ReadLetters(), letters, settings_for("host=unused"))
