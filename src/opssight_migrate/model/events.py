"""What happened, told by the engine to whoever shows it. Events are facts in the past tense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from opssight_migrate.model.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """One session that stands in the way. None where the role may not see it."""

    pid: int
    user: str | None = None
    application: str | None = None
    age_s: float | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """The plan stands, before the question (and before every refusal that it holds)."""

    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run has the lock and its row in the journal. ``resumes`` is the run it goes on from."""

    run_id: str
    resumes: str | None
    steps_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A revision or data step begins. ``resumed`` when an earlier run had begun it."""

    step_id: str
    title: str
    number: int
    steps_total: int
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementStarted:
    """A statement of a revision is about to be sent. ``what`` is a short phrase."""

    step_id: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionBegun:
    """A step is about to make something else of a table as a whole; it was none of that before.

    The journal keeps it at once, so that exactly this can be undone.
    """

    step_id: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockAwaited:
    """We wait, outside the queue, for a lock. ``waited_s`` counts from the first look."""

    step_id: str
    relation: str
    mode: str
    waited_s: float
    budget_s: float
    blockers: tuple[Blocked, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A session that waited for us. ``waited_ms`` is the longest wait that was seen.

    ``relation`` is the table it waited for, None when it waited for a row or a transaction.
    """

    pid: int
    application: str
    waited_ms: int
    relation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTaken:
    """A transaction with strong locks is committed: the receipt of what they cost.

    ``waited_ms`` is all the time before the locks were ours, outside the queue mostly;
    ``held_ms`` from then to the commit.
    """

    step_id: str
    relation: str
    mode: str
    waited_ms: int
    held_ms: int
    victims: tuple[Victim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDone:
    """One batch is committed. ``rows_done`` counts this run and earlier ones."""

    step_id: str
    table: str
    rows_done: int
    rows_total: int | None
    batch_rows: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastCorrected:
    """The first batches of a step tell how long all of it will take; ``forecast_s`` was the plan's.

    Both are of the whole walk, without what the governor may wait.
    """

    step_id: str
    forecast_s: float
    corrected_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The governor slows or stops the batches. ``cause`` is the signal's name, ``text`` says which
    of both and why; said at once, and again while it lasts. ``since_s`` counts from its beginning.
    """

    step_id: str
    cause: str
    text: str
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What made the governor slow or stop is over. ``lost_s`` is the time waited for it."""

    step_id: str
    cause: str
    lost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionApplied:
    """Alembic stamped a revision; its journal row committed with the stamp."""

    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionUndone:
    """Alembic took a revision's stamp away; its journal row committed with that."""

    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step is done and verified. ``rows`` is None for a revision."""

    step_id: str
    title: str
    rows: int | None
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something the operator should hear that stops nothing. ``severity``: note or warning."""

    severity: str
    message: str
    code: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStarted:
    """``verify`` asks its next check."""

    check_id: str
    title: str
    number: int
    checks_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofStarted:
    """The closing verification begins: catalogue, rows, rights."""

    tables: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCompared:
    """One table was digested. ``phase`` is before or after; ``equal`` is None before."""

    phase: str
    table: str
    rows: int
    equal: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMeasured:
    """A declared query was run several times; ``verdict`` is the report's word for it.

    ``pages`` were touched by one run. The baseline's figures are None where there is none.
    """

    query_id: str
    title: str
    median_us: int
    pages: int
    plan: tuple[str, ...]
    verdict: Literal["baseline", "as before", "slower", "no baseline"]
    baseline_us: int | None = None
    baseline_pages: int | None = None
    baseline_plan: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLoad:
    """What the server's machine does, and what of it the server's processes; percent are of all.

    ``server_bytes`` shares out common memory among its users; None where we may not look.
    """

    cpu_percent: float
    server_cpu_percent: float
    memory_bytes: int
    available_bytes: int
    server_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """How busy the server is. Shares are 0 to 1, since its counters began; None: no counts yet.

    ``machine`` is None, not known, unless the server's data directory is on this machine.
    """

    connections: int
    connections_most: int
    cache_hit: float | None
    index_use: float | None
    machine: MachineLoad | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupStarted:
    """A backup is being written. ``proves`` when it is restored and digested as it is made.

    ``path`` is that of its files without their endings; ``jobs`` pg_dump may run side by side.
    """

    path: str
    tables: int
    sealed: bool
    proves: bool
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupProgressed:
    """So much of a backup is on disk; ``tables_done`` of its tables are digested."""

    tables_done: int
    tables_total: int
    size_bytes: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMade:
    """A backup and its manifest are on disk, synced, under their names."""

    path: str
    size_bytes: int
    rows: int
    sha256: str
    proven: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """A signal asked us to stop; we stop after the current batch."""

    signal_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run ended, well or not. ``status`` is the report's word for it."""

    run_id: str
    status: str
    elapsed_s: float


Event = (
    PlanMade
    | RunStarted
    | StepStarted
    | StatementStarted
    | ConversionBegun
    | LockAwaited
    | LockTaken
    | BatchDone
    | ForecastCorrected
    | Paused
    | Resumed
    | RevisionApplied
    | RevisionUndone
    | StepFinished
    | Noted
    | CheckStarted
    | ProofStarted
    | TableCompared
    | QueryMeasured
    | ServerSeen
    | BackupStarted
    | BackupProgressed
    | BackupMade
    | StopRequested
    | RunFinished
)
Emit = Callable[[Event], None]


def unheard(event: Event) -> None:
    """Drop an event: for callers that show nothing."""
    del event
