"""How long OpsSight's queries took before a run, kept in the journal for ``verify``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from opssight_migrate.postgres.latency import Latency
from opssight_migrate.postgres.query_plans import QueryPlan
from opssight_migrate.postgres.session import Session

SCHEMA = """
CREATE TABLE IF NOT EXISTS opssight_migrate.query_baselines (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    query_id text NOT NULL,
    key bigint,
    median_us bigint NOT NULL,
    fastest_us bigint NOT NULL,
    plan jsonb NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, query_id)
);
"""
_EXIST = "SELECT to_regclass('opssight_migrate.query_baselines') IS NOT NULL"
_KEPT = """
INSERT INTO opssight_migrate.query_baselines (run_id, query_id, key, median_us, fastest_us, plan)
VALUES (%s, %s, %s, %s, %s, %s::jsonb)
"""
_ARE_KEPT = """
SELECT EXISTS (SELECT FROM opssight_migrate.query_baselines WHERE run_id = ANY(%s))
"""
_NEWEST = """
SELECT b.query_id, b.run_id, b.taken_at, b.key, b.median_us, b.fastest_us, b.plan
  FROM opssight_migrate.query_baselines AS b
 WHERE b.run_id = (SELECT r.id FROM opssight_migrate.runs AS r
                    WHERE EXISTS (SELECT FROM opssight_migrate.query_baselines AS x
                                   WHERE x.run_id = r.id)
                    ORDER BY r.epoch DESC LIMIT 1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One query as it was before the run ``run_id``."""

    run_id: str
    taken_at: datetime
    key: int | None
    median_us: int
    fastest_us: int
    plan: QueryPlan


def are_kept(session: Session, lineage: Sequence[str]) -> bool:
    """Tell whether a run, or one that it goes on from, has kept its baseline."""
    return bool(session.scalar(_ARE_KEPT, (list(lineage),)))


def keep(session: Session, run_id: str, taken: Sequence[Latency]) -> None:
    """Write the baseline of a run, whole or not at all."""
    with session.writing():
        for one in taken:
            values = (run_id, one.query.id, one.key, one.median_us, one.fastest_us)
            session.execute(_KEPT, (*values, json.dumps(asdict(one.plan))))


def newest(session: Session) -> dict[str, Baseline]:
    """Return what the newest run that kept a baseline measured, by query; empty if none did."""
    if not session.scalar(_EXIST):
        return {}
    return {
        query_id: Baseline(
            run_id=run_id,
            taken_at=taken_at,
            key=key,
            median_us=median_us,
            fastest_us=fastest_us,
            plan=QueryPlan(
                **{**plan, "lines": tuple(plan["lines"]), "tables": tuple(plan["tables"])}
            ),
        )
        for query_id, run_id, taken_at, key, median_us, fastest_us, plan in session.rows(_NEWEST)
    }
