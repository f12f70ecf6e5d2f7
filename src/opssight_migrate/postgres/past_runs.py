"""What the journal knows of one run: enough to undo exactly that."""

from __future__ import annotations

from opssight_migrate.model.errors import UsageError
from opssight_migrate.model.plan import Blocker
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

# A run that went on from killed ones did its work together with them.
_RUN = """
SELECT r.command, first.revision_from, r.lineage, r.epoch
  FROM opssight_migrate.runs AS r
  JOIN opssight_migrate.runs AS first ON first.id = r.lineage[1]
 WHERE r.id = %s
"""
# A rollback to where the run began that stopped on the way is gone on with.
_LATER = """
SELECT id, command FROM opssight_migrate.runs
 WHERE epoch > %s
   AND NOT (command = 'rollback' AND revision_to = %s AND status NOT IN ('ok', 'superseded'))
   AND (command = 'rollback-data' OR command IN ('migrate', 'rollback')
        AND EXISTS (SELECT FROM opssight_migrate.steps AS s WHERE s.run_id = runs.id))
 ORDER BY epoch LIMIT 1
"""
_DATA_STEPS = """
SELECT step_id, greatest(from_steps, from_batches)::int8
  FROM (SELECT s.step_id, coalesce(sum(s.rows), 0) AS from_steps,
               (SELECT coalesce(sum(b.rows), 0) FROM opssight_migrate.batches AS b
                 WHERE b.run_id = ANY(%(runs)s) AND b.step_id = s.step_id) AS from_batches
          FROM opssight_migrate.steps AS s
         WHERE s.run_id = ANY(%(runs)s) AND s.kind = 'data'
         GROUP BY 1) AS written
 WHERE greatest(from_steps, from_batches) > 0 ORDER BY 1
"""
_WALKS = """
SELECT step_id, array_agg(DISTINCT walk) FROM opssight_migrate.batches
 WHERE run_id = ANY(%s) GROUP BY 1
"""
_LINEAGE = "SELECT lineage FROM opssight_migrate.runs WHERE id = %s"
_SCHEMA_STEPS = """
SELECT step_id FROM opssight_migrate.steps WHERE run_id = ANY(%s) AND kind = 'schema'
"""
# It began on an empty database, or went on from one that did.
_FROM_NOTHING = """
SELECT r.id FROM opssight_migrate.runs AS r
  JOIN opssight_migrate.runs AS first ON first.id = r.lineage[1]
 WHERE r.command = 'migrate' AND first.revision_from IS NULL ORDER BY r.epoch DESC LIMIT 1
"""
BASE = "base"
"""What a way back to an empty database is called; only a run that began there goes back to it."""

_KNOWN = (
    "SELECT id FROM opssight_migrate.runs WHERE command = 'migrate' ORDER BY epoch DESC LIMIT 5"
)


def before(session: Session, run_id: str) -> tuple[str, tuple[Blocker, ...]]:
    """Return the revision before a run (``BASE``: nothing), and why it cannot be undone by itself.

    Raises: UsageError, if the journal knows no such run, or it was none of ``migrate``.
    """
    row = session.row(_RUN, (run_id,)) if journal.exists(session) else None
    if row is None or row[0] != "migrate":
        known = session.rows(_KNOWN) if journal.exists(session) else []
        runs = ", ".join(one for (one,) in known) or "there is none"
        raise UsageError(
            f"the journal has no migration {run_id!r}", hint=f"runs that can be undone: {runs}"
        )
    _, revision_from, lineage, epoch = row
    target = revision_from or BASE
    return target, tuple(_obstacles(session, run_id, lineage, epoch, target))


def worked_on(session: Session, run_id: str) -> dict[str, frozenset[str]]:
    """Return the tables that each data step of a run worked on, at a revision it found made."""
    lineage = session.scalar(_LINEAGE, (run_id,))
    made = {step_id for (step_id,) in session.rows(_SCHEMA_STEPS, (lineage,))}
    return {
        step_id: frozenset(tables)
        for step_id, tables in session.rows(_WALKS, (lineage,))
        if _NEEDS.get(step_id) not in made
    }


def way_back_to(session: Session, revision: str) -> str:
    """Return the options of ``rollback`` that lead to a revision; only a run leads to nothing."""
    if revision != BASE:
        return f"--to-revision {revision}"
    return f"--run {session.scalar(_FROM_NOTHING)}"


def _obstacles(
    session: Session, run_id: str, lineage: list[str], epoch: int, target: str
) -> list[Blocker]:
    later = session.row(_LATER, (epoch, target))
    if later is not None:
        return [
            Blocker(
                message=f"{later[1]} {later[0]} came after run {run_id}",
                where=run_id,
                hint="undo that one first, or name the revision: rollback --to-revision",
            )
        ]
    made = {step_id for (step_id,) in session.rows(_SCHEMA_STEPS, (lineage,))}
    return [
        Blocker(
            message=f"{step_id} wrote {rows:,} rows at a revision that run {run_id} found made",
            where=run_id,
            hint="these rows come back from a backup only",
        )
        for step_id, rows in session.rows(_DATA_STEPS, {"runs": lineage})
        if _NEEDS.get(step_id) not in made
    ]


_NEEDS = {
    "settle-organizations": revisions.MULTI_TENANCY,
    "assign-roles": revisions.RBAC,
    "set-up-time-series": revisions.TIME_SERIES,
    "initialise-audit": revisions.AUDIT,
}
