"""The walk of a batched step: keyset batches that adapt to a target time, exactly once."""

from __future__ import annotations

import time
from dataclasses import dataclass

from opssight_migrate.engine.forecast import Correction
from opssight_migrate.engine.governor import Governor
from opssight_migrate.model.errors import StatementError, StepFailedError
from opssight_migrate.model.events import BatchDone
from opssight_migrate.postgres.failures import DeadlockError, LockNotAvailableError
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.steps.base import StepContext, Walk

FIRST_ROWS = 500
FEWEST_ROWS = 50
MOST_ROWS = 50_000
_TRIES = 5
# One batch may be a third off the target before the size changes, and never more than doubles.
_FASTEST_GROWTH = 2.0


@dataclass(slots=True)
class BatchSize:
    """How many rows the next batch takes, so that it lasts about ``target_s``."""

    target_s: float
    rows: int = FIRST_ROWS

    def learn(self, elapsed_s: float) -> None:
        """Adapt to how long the last batch took."""
        factor = min(_FASTEST_GROWTH, self.target_s / max(elapsed_s, 1e-6))
        fewest = min(FEWEST_ROWS, 2 * self.rows)
        self.rows = max(fewest, min(MOST_ROWS, int(self.rows * factor)))


def walk(
    ctx: StepContext,
    journal: Journal,
    step_id: str,
    way: Walk,
    *,
    governor: Governor,
    correction: Correction,
    target_s: float,
) -> int:
    """Walk one table from the journal's cursor to its end; return the rows done, runs before too.

    Each batch commits with its cursor and its counter, so a kill loses the batch in flight.

    Raises: StepFailedError naming the key of the row that cannot be done.
    """
    with ctx.session.by_key():
        return _batches(ctx, journal, step_id, way, governor, correction, target_s)


def _batches(
    ctx: StepContext,
    journal: Journal,
    step_id: str,
    way: Walk,
    governor: Governor,
    correction: Correction,
    target_s: float,
) -> int:
    after, rows_done = journal.cursor(step_id, way.table)
    size = BatchSize(target_s)
    while True:
        ctx.drive.pause_point()
        governor.pace(step_id)
        started = time.monotonic()
        taken = size.rows
        answer = _batch(ctx, journal, step_id, way, after, size, governor)
        if answer is None:
            return rows_done
        after, rows = answer
        rows_done += rows
        elapsed_s = time.monotonic() - started
        size.learn(elapsed_s)
        correction.learn(taken, elapsed_s)
        ctx.emit(
            BatchDone(
                step_id=step_id,
                table=way.table,
                rows_done=rows_done,
                rows_total=correction.rows_total,
                batch_rows=taken,
                elapsed_s=elapsed_s,
            )
        )


def _batch(
    ctx: StepContext,
    journal: Journal,
    step_id: str,
    way: Walk,
    after: str | None,
    size: BatchSize,
    governor: Governor,
) -> tuple[str, int] | None:
    """Do one batch in one transaction; one that fails is halved, down to the row to blame."""
    tries = 0
    while True:
        try:
            with ctx.session.writing():
                row = ctx.session.row(
                    way.batch_sql, {**way.parameters, "after": after, "limit": size.rows}
                )
                if row is None or row[0] is None:
                    return None
                last_key, rows = str(row[0]), int(row[1])
                journal.advance(step_id, way.table, last_key, rows)
                committing = time.monotonic()
            governor.committed(time.monotonic() - committing)
            return last_key, rows
        except (DeadlockError, LockNotAvailableError) as error:
            tries += 1
            if tries == _TRIES:
                raise _given_up(ctx, step_id, way, after, error) from error
            size.rows = max(1, size.rows // 2)
            time.sleep(0.05 * 2**tries)
        except StatementError as error:
            # A second signal cancels the statement: that is nobody's fault.
            ctx.drive.pause_point()
            if size.rows == 1:
                raise _given_up(ctx, step_id, way, after, error) from error
            size.rows //= 2


def _given_up(
    ctx: StepContext, step_id: str, way: Walk, after: str | None, error: StatementError
) -> StepFailedError:
    key = ctx.session.scalar(way.next_key, {"after": after})
    return StepFailedError(
        f"{step_id}: {way.table} with {way.key} {key} cannot be done: {error.message}",
        where=f"{way.table}, {way.key} {key}",
        sqlstate=error.sqlstate,
        hint="mend that row, or what refuses it; then the same command again",
    )
