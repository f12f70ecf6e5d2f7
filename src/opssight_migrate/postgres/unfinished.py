"""What a run that did not end well left to the next one: steps, and the closing proof."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import journal
from opssight_migrate.postgres.session import Session

_NEWEST = """
SELECT first.revision_from, r.revision_to,
       ARRAY(SELECT s.step_id FROM opssight_migrate.steps AS s WHERE s.run_id = ANY (r.lineage)),
       ARRAY(SELECT s.step_id FROM opssight_migrate.steps AS s
              WHERE s.run_id = ANY (r.lineage) AND s.status = 'done')
  FROM opssight_migrate.runs AS r
  JOIN opssight_migrate.runs AS first ON first.id = r.lineage[1]
 WHERE r.epoch = (SELECT max(epoch) FROM opssight_migrate.runs WHERE command = %s)
   AND r.status NOT IN ('ok', 'superseded')
"""
# What a run in the other direction went over is not gone on with: its cursors and snapshots
# speak of a database that is no more.
_SUPERSEDED = """
UPDATE opssight_migrate.runs AS r SET status = 'superseded'
  FROM opssight_migrate.runs AS by
 WHERE by.id = %s AND r.epoch < by.epoch AND r.command <> by.command
   AND r.command IN ('migrate', 'rollback')
   AND by.command IN ('migrate', 'rollback', 'rollback-data')
   AND r.status NOT IN ('ok', 'superseded')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A run that was killed, stopped or failed, together with those that it went on from."""

    revision_from: str | None
    revision_to: str
    begun: frozenset[str]
    done: frozenset[str]

    def left(self, step_id: str, needs: str) -> bool:
        """Tell whether a data step was in its plan and has no end in the journal.

        Such a step may leave nothing to do, and yet owes the audit log its row.
        """
        planned = not revisions.is_at_least(self.revision_from, needs) or step_id in self.begun
        return planned and step_id not in self.done

    def changed_nothing_since(self, revision: str) -> bool:
        """Tell whether it stopped before its first step, on a database at ``revision``."""
        return self.revision_from == revision and not self.begun


def newest(session: Session, command: str) -> Unfinished | None:
    """Return the newest run of ``command`` if it did not end well, else None."""
    row = session.row(_NEWEST, (command,)) if journal.exists(session) else None
    if row is None:
        return None
    revision_from, revision_to, begun, done = row
    return Unfinished(
        revision_from=revision_from,
        revision_to=revision_to,
        begun=frozenset(begun),
        done=frozenset(done),
    )


def supersede(session: Session, run_id: str) -> None:
    """Close what a run that ended well has gone over: unfinished runs in the other direction."""
    session.execute(_SUPERSEDED, (run_id,))
