"""What a step is: a small declaration. It never commits, loops over a table, sleeps or prints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from opssight_migrate.model.events import Emit, unheard
from opssight_migrate.model.plan import Blocker, Estimate, Finding, Severity, Undo
from opssight_migrate.postgres import sql
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.postgres.locks import Door
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContext:
    """What a step may use. ``drive`` carries the session's budget, events and stop signal.

    ``window_s`` is for how long the operator lets a step stop everybody; None: not at all.
    """

    session: Session
    profile: Profile
    drive: Drive
    emit: Emit = unheard
    window_s: float | None = None

    @property
    def door(self) -> Door:
        """The door to strong locks, with this run's budget and stop signal."""
        return self.drive.door()

    @property
    def ddl(self) -> Ddl:
        """Online DDL for this step, through the door."""
        return Ddl(
            self.session,
            self.door,
            emit=self.emit,
            step_id=self.drive.step_id,
            pace=self.drive.pace,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One table's way through a batched step.

    ``batch_sql`` takes ``after`` (the last key as text, None at the beginning), ``limit`` and
    ``parameters``; it answers one row: the last key of the batch as text (None: at the end), and
    the rows it changed. Run twice over the same keys, it changes nothing the second time.
    """

    table: str
    batch_sql: sql.Composed | sql.SQL
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    key: str = "id"

    @property
    def next_key(self) -> sql.Composed:
        """A query for the key that follows ``after``, to name the row that a batch stumbles on."""
        names = {"key": sql.Identifier(self.key), "table": sql.Identifier(self.table)}
        return sql.SQL(_NEXT_KEY).format(**names)


# The cursor is text, whatever the key's type: the comparison is with a row, which keeps it.
_NEXT_KEY = """
SELECT {key}::text FROM {table}
 WHERE %(after)s::text IS NULL
    OR {key} > (SELECT k.{key} FROM {table} AS k WHERE k.{key}::text = %(after)s::text)
 ORDER BY {key} LIMIT 1
"""


class BaseStep(ABC):
    """A step in the one ordered list.

    ``id`` is a key in the journal, stable for ever; ``needs`` is the revision at which the step
    can run. A step's preconditions and estimate run in READ ONLY transactions before the run, so
    they ask only what every revision can answer. Its verification changes nothing either.
    ``undo_kind`` says how it is taken back together with the revision that it ``needs``, and
    ``undo_alone`` how where that revision stays, because the run began beyond it.
    """

    id: str
    title: str
    kind: Literal["schema", "data"] = "data"
    needs: str
    audit: Audit
    undo_kind: Undo = Undo.NONE
    undo_alone: Undo = Undo.NONE

    def preconditions(self, ctx: StepContext) -> Iterable[Blocker]:
        """Say what would make the step fail, before anything is changed."""
        del ctx
        return ()

    @abstractmethod
    def estimate(self, ctx: StepContext) -> Estimate:
        """Say how many rows the step moves and which locks it takes."""

    @abstractmethod
    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """Say what is not as this step leaves it; nothing when all is well."""

    def undo(self, ctx: StepContext) -> None:
        """Take back, idempotently, what the undoing of its revision does not take away anyhow."""
        del ctx

    def undo_estimate(self, ctx: StepContext) -> Estimate:
        """Say what ``undo`` of a data step costs, and which locks it takes."""
        del ctx
        return Estimate()

    def only(self, tables: frozenset[str]) -> BaseStep | None:
        """Return what one run did of the step, to ``tables``, as a step to be undone by itself.

        None where it is undone together with its revision only.
        """
        del tables
        return None

    def stands(self, ctx: StepContext) -> bool:
        """Tell whether there is something that ``undo`` has to take back before its revision."""
        del ctx
        return False

    def is_pending(self, ctx: StepContext) -> bool:
        """Tell whether there is something to do, asked at a revision where the step can run."""
        return any(finding.severity is Severity.FAIL for finding in self.verify(ctx))


class Step(BaseStep):
    """A step that is done once and whole; in one transaction with its journal row if atomic."""

    atomic: bool = True

    @abstractmethod
    def apply(self, ctx: StepContext) -> int | None:
        """Do it; return the rows it touched, None where it moves none."""


class BatchedStep(BaseStep):
    """A step that walks over tables; the engine owns the loop, the cursor and the commit."""

    def prepare(self, ctx: StepContext) -> None:
        """Do, idempotently, what the walks rely on; several transactions if it likes."""
        del ctx

    @abstractmethod
    def walks(self, ctx: StepContext) -> Iterable[Walk]:
        """Name the walks, in order."""

    def finish(self, ctx: StepContext) -> None:
        """Do, idempotently, what the filled tables allow."""
        del ctx

    def catch_up(self, ctx: StepContext) -> int:
        """Do, in one statement, the few rows that changed behind the walks; return their number.

        The engine asks for it in the snapshot in which it verifies: on a database that others
        write without a pause, "all is done" is true of one moment or of none.
        """
        del ctx
        return 0
