"""OpsSight's queries take no longer than before the last run, by clock and by plan."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.errors import StatementError
from opssight_migrate.model.events import QueryMeasured
from opssight_migrate.model.plan import Detail, Finding, Severity
from opssight_migrate.opssight import queries, revisions
from opssight_migrate.opssight.queries import Query
from opssight_migrate.postgres import baselines, catalog, latency
from opssight_migrate.postgres.baselines import Baseline
from opssight_migrate.postgres.latency import Latency
from opssight_migrate.postgres.query_plans import growth
from opssight_migrate.postgres.session import Session

Verdict = Literal["as before", "slower", "no baseline"]

_TIMES_SLOWER = 1.5
# Nobody feels less, and a clock that is asked five times cannot tell it from its own doings.
_LEAST_US = 500
_LEAST_PAGES = 16
_ROUNDS = 3
_BETWEEN_ROUNDS_S = 0.2
# No further round begins for one query after this; there is always a second one.
_AGAIN_S = 1.0
_BUDGET_S = 30.0


class QueriesAreAsFast(Check):
    """Measured as ``migrate`` measured them before it began.

    A clock alone is no witness: on a busy machine everything is slow. So a query is slower when
    even the best run of its rounds is, and when its plan differs or it touches more pages, beyond
    what it has rows more to look at. Slower by the same plan over the same pages is a note.
    """

    id = "queries-are-as-fast"
    title = "Queries are as fast as before the last run"
    category = "performance"
    needs = revisions.START

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Measure, compare, and measure again what looks slow."""
        current = catalog.current_revision(ctx.session) or revisions.START
        before = baselines.newest(ctx.session)
        until = time.monotonic() + _BUDGET_S
        unknown: list[str] = []
        for query in queries.asked_at(current):
            if time.monotonic() > until:
                yield self._unmeasured(query, f"{_BUDGET_S:.0f} s are used up")
                continue
            try:
                with ctx.session.trying():
                    found = list(self._judged(ctx, query, before.get(query.id)))
            except StatementError as error:
                yield self._unmeasured(query, error.message)
                continue
            yield from found
            if query.id not in before:
                unknown.append(query.id)
        if unknown:
            told = "no run of migrate has stored a baseline here" if not before else ""
            told = told or f"no baseline of what came with the last run: {', '.join(unknown)}"
            yield Finding(check_id=self.id, severity=Severity.NOTE, message=told)

    def _judged(self, ctx: CheckContext, query: Query, was: Baseline | None) -> Iterable[Finding]:
        session = ctx.session
        key = latency.key_for(session, query) if was is None else was.key
        now = latency.measure(session, query, key)
        verdict: Verdict = "no baseline"
        if was is not None:
            verdict = "as before"
            now = _at_its_best(session, now, was)
            if _is_slow(now, was):
                verdict = "slower"
                yield self._slower(now, was, does_more=_does_more(now, was))
        ctx.emit(
            QueryMeasured(
                query_id=query.id,
                title=query.title,
                median_us=now.median_us,
                pages=now.plan.pages,
                plan=now.plan.lines,
                verdict=verdict,
                baseline_us=None if was is None else was.median_us,
                baseline_pages=None if was is None else was.plan.pages,
                baseline_plan=() if was is None else was.plan.lines,
            )
        )

    def _slower(self, now: Latency, was: Baseline, *, does_more: bool) -> Finding:
        ratio = now.fastest_us / max(was.fastest_us, 1)
        message = f"{now.query.id} takes {_ms(now.median_us)}, and {_ms(was.median_us)} before run"
        message += f" {was.run_id}: {ratio:.1f} times as long, at its best"
        if not does_more:
            message += ", by the same plan over as many pages: the server is slower, or busy"
        elif now.plan.pages:
            message += f"; it touches {now.plan.pages:,} pages, {was.plan.pages:,} before"
        return Finding(
            check_id=self.id,
            severity=Severity.WARN if does_more else Severity.NOTE,
            message=message,
            where=", ".join(now.plan.tables) or None,
            hint="compare the plans; then, of the tables it names: ANALYZE, VACUUM, REINDEX"
            if does_more
            else None,
            details=(
                Detail(title="plan before", lines=was.plan.lines),
                Detail(title="plan now", lines=now.plan.lines),
            ),
        )

    def _unmeasured(self, query: Query, why: str) -> Finding:
        message = f"{query.id} was not measured: {why}"
        return Finding(check_id=self.id, severity=Severity.NOTE, message=message)


def _is_slow(now: Latency, was: Baseline) -> bool:
    """Compare the best with the best: a busy machine makes runs longer, and none shorter."""
    most_us = _TIMES_SLOWER * growth(was.plan, now.plan) * was.fastest_us
    return now.fastest_us - was.fastest_us > _LEAST_US and now.fastest_us > most_us


def _at_its_best(session: Session, now: Latency, was: Baseline) -> Latency:
    """Measure again while it looks slow; return the round with the fastest run of all."""
    best = now
    until = time.monotonic() + _AGAIN_S
    for _ in range(_ROUNDS - 1):
        if not _is_slow(best, was):
            break
        time.sleep(_BETWEEN_ROUNDS_S)
        again = latency.measure(session, now.query, now.key)
        best = min(best, again, key=lambda one: one.fastest_us)
        if time.monotonic() > until:
            break
    return best


def _does_more(now: Latency, was: Baseline) -> bool:
    if now.plan.shape != was.plan.shape:
        return True
    more = now.plan.pages - was.plan.pages
    many = _TIMES_SLOWER * growth(was.plan, now.plan) * was.plan.pages
    return more > _LEAST_PAGES and now.plan.pages > many


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:,.2f} ms"
