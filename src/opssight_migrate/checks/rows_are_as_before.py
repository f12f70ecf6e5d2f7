"""The rows that the last run found have the same content still, but for what OpsSight wrote."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import catalog, digest, ranges
from opssight_migrate.postgres.ranges import Before, Range
from opssight_migrate.postgres.session import Session

_NAMED = 5
# A session that has gone idle publishes its counters after ten seconds at the latest.
_STATISTICS_S = 11.0
_POLL_S = 0.5


class RowsAreAsBefore(Check):
    """Digests by key range over the columns that there were, against the last run's snapshot.

    OpsSight sets ``updated_at`` with every change. So a range in which no row is marked as newer
    than the snapshot must be as it was; one with newer rows cannot be compared any more.
    """

    id = "rows-are-as-before"
    title = "Rows hold what the last run found in them"
    category = "integrity"
    needs = revisions.START

    def skipped(self, ctx: CheckContext) -> str | None:
        """There must be a snapshot."""
        return None if ranges.are_kept(ctx.session) else "no run has kept a snapshot here"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Digest again what was digested."""
        for before in ranges.newest(ctx.session):
            columns = digest.columns_by_table(ctx.session, [before.table]).get(before.table, ())
            if lost := [name for name in before.columns if name not in columns]:
                yield self._lost(ctx.session, before, lost if columns else [])
            elif before.ranges:
                yield from self._by_range(ctx.session, before)
            elif catalog.rows_exact(ctx.session, before.table) < before.rows:
                yield from self._gone(ctx.session, before, before.rows, ())

    def _by_range(self, session: Session, before: Before) -> Iterable[Finding]:
        now = ranges.now(session, before)
        altered: list[Range] = []
        gone: list[Range] = []
        lost = written = 0
        for was in before.ranges:
            found = now.get(was.lo, Range(lo=was.lo, hi=was.hi, rows=0, digest=0))
            if (found.rows, found.digest) == (was.rows, was.digest):
                continue
            if found.marked:
                written += 1
            elif found.rows < was.rows:
                gone.append(was)
                lost += was.rows - found.rows
            else:
                altered.append(was)
        known = {was.lo for was in before.ranges}
        for lo, found in now.items():
            if lo not in known and found.marked:
                written += 1
            elif lo not in known:
                altered.append(found)  # new, among the old ones, and without a mark
        if altered:
            yield self._altered(session, before, altered)
        if gone:
            yield from self._gone(session, before, lost, tuple(str(one) for one in gone))
        if written:
            message = f"{before.table}: {written} of {len(before.ranges)} key ranges were written"
            message += " by OpsSight since the last run, and are not compared"
            yield Finding(check_id=self.id, severity=Severity.NOTE, message=message)

    def _lost(self, session: Session, before: Before, columns: list[str]) -> Finding:
        """Say what cannot be compared, for want of ``columns`` or (empty) of the whole table."""
        wanted = golden(catalog.current_revision(session) or revisions.START)["tables"]
        known = {one["name"] for one in wanted.get(before.table, {"columns": []})["columns"]}
        is_ours = not known.isdisjoint(columns or known)
        what = f"its column {', '.join(columns)}" if columns else "the table"
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL if is_ours else Severity.NOTE,
            message=f"{before.table} is not compared: {what} is gone since the last run",
            where=before.table,
            rows=before.rows,
            hint="restore it from a backup: opssight-migrate backup list" if is_ours else None,
        )

    def _altered(self, session: Session, before: Before, altered: list[Range]) -> Finding:
        judged = ranges.has_marks(session, before.table)
        message = f"rows of {before.table} differ from the last run's snapshot"
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL if judged else Severity.NOTE,
            message=f"{message}, and {before.table} does not say that OpsSight wrote them"
            if judged
            else f"{message}; OpsSight leaves no mark there, so who wrote them is not known",
            where=before.table,
            rows=sum(one.rows for one in altered),
            keys=tuple(str(one) for one in altered[:_NAMED]),
            hint="compare these keys with a backup" if judged else None,
        )

    def _gone(
        self, session: Session, before: Before, lost: int, keys: tuple[str, ...]
    ) -> Iterable[Finding]:
        deleted = _deleted_since(session, before, lost)
        told = "how many were deleted is not known" if deleted is None else f"{deleted} deleted"
        yield Finding(
            check_id=self.id,
            severity=Severity.FAIL if deleted is not None and deleted < lost else Severity.NOTE,
            message=f"rows of {before.table} are gone since the last run ({told})",
            where=before.table,
            rows=lost,
            keys=keys[:_NAMED],
            hint="compare these keys with a backup",
        )


def _deleted_since(session: Session, before: Before, lost: int) -> int | None:
    """Count the deletions since the snapshot, as soon as the server knows of all."""
    until = time.monotonic() + _STATISTICS_S
    while True:
        deleted = ranges.deleted_since(session, before)
        if deleted is None or deleted >= lost or time.monotonic() > until:
            return deleted
        time.sleep(_POLL_S)
