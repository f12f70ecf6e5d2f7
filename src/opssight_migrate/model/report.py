"""The one JSON document that every verb ends with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal[
    "ok",
    "nothing_to_do",
    "pending",
    "refused",
    "failed",
    "rolled_back",
    "partial",
    "findings",
    "interrupted",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Database(_Part):
    """The database a verb worked on."""

    host: str
    port: int
    name: str
    user: str
    server_version: str
    timescaledb: str | None
    system_identifier: str


class Environment(_Part):
    """The profile a verb worked with. ``database`` is None when there was no connection."""

    name: str
    protected: bool
    database: Database | None = None


class Revision(_Part):
    """Alembic's revision before and after; ``head`` is where the chain ends."""

    from_: str | None = Field(default=None, alias="from")
    to: str | None = None
    head: str
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Rows(_Part):
    """Rows of a step. ``total`` is None where it is not known; ``exact`` is false for a guess."""

    done: int
    total: int | None
    exact: bool


class LockVictim(_Part):
    """A session that waited for us; the longest wait that was seen."""

    pid: int
    application: str
    waited_ms: int


class LockReceipt(_Part):
    """What one strong lock cost: the wait before it was ours, how long we held it, and whom."""

    relation: str
    mode: str
    waited_ms: int
    held_ms: int
    victims: tuple[LockVictim, ...] = ()


class LockPromise(_Part):
    """A lock that the plan names: it stops writers, or (ACCESS EXCLUSIVE) readers too."""

    relation: str
    mode: Literal["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"]
    at_most_ms: int


class ForecastTime(_Part):
    """How long a step was likely to take, in milliseconds: usually, and in the slow tenth.

    ``corrected_ms`` is what its first batches made of it; None where it ended before.
    """

    p50_ms: int
    p90_ms: int
    corrected_ms: int | None = None


class ReportStep(_Part):
    """One revision or data step. ``duration_ms`` is None when it did not run."""

    id: str
    title: str
    kind: Literal["schema", "data", "retire"]
    status: Literal["pending", "done", "running", "failed", "undone"]
    duration_ms: int | None = None
    forecast: ForecastTime | None = None
    wal_bytes: int = 0
    rows: Rows | None = None
    reversible: Literal["exact", "archive", "from backup", "none"] | None = None
    promised_locks: tuple[LockPromise, ...] = ()
    locks: tuple[LockReceipt, ...] = ()


class LedgerLine(_Part):
    """One line of a rollback's loss ledger; ``query`` lists the rows."""

    kind: Literal[
        "archived",
        "values archived",
        "written since",
        "changed since",
        "deleted since",
        "not in the backup",
        "goes",
        "conflict",
        "note",
    ]
    what: str
    rows: int | None = None
    keys: tuple[str, ...] = ()
    query: str | None = None


class CheckResult(_Part):
    """One check of ``verify``, or of the proof that ends ``migrate``.

    ``reason`` says why one was skipped.
    """

    id: str
    title: str
    category: str
    status: Literal["passed", "failed", "skipped"]
    findings: int
    reason: str | None = None
    duration_ms: int = 0


class Detail(_Part):
    """Lines that belong to a finding, such as a query's plan."""

    title: str
    lines: tuple[str, ...]


class Diagnostic(_Part):
    """An error, warning, finding or note. ``state`` says, of an error, what is true now.

    ``sql`` is what would mend it, where that was asked for; it was not run.
    """

    code: str | None = None
    severity: Literal["error", "warning", "note"]
    message: str
    hint: str | None = None
    sqlstate: str | None = None
    location: str | None = None
    state: str | None = None
    rows: int | None = None
    keys: tuple[str, ...] = ()
    sql: str | None = None
    details: tuple[Detail, ...] = ()


class Artifact(_Part):
    """A file that the verb left behind. ``sha256`` is None for files still being written."""

    kind: str
    path: str
    bytes: int
    sha256: str | None = None
    verified: bool | None = None


class Next(_Part):
    """What to type next, and why."""

    command: str
    why: str


class Proof(_Part):
    """What was compared before and after. ``differing`` names tables that are not equal.

    ``users_announced`` had no permissions and got those that the plan announced. None is not asked.
    """

    tables: int
    rows: int
    identical: bool
    differing: tuple[str, ...] = ()
    catalogue: str | None = None
    users_identical: int | None = None
    users_announced: int | None = None
    users_differing: int | None = None
    cross_tenant_references: int | None = None
    sentence: str


class QueryTime(_Part):
    """How long a declared query takes, in microseconds, and the pages that one run touches.

    The baseline is what the last run measured before it began; None where it did not.
    """

    id: str
    title: str
    verdict: Literal["baseline", "as before", "slower", "no baseline"]
    median_us: int
    pages: int
    plan: tuple[str, ...]
    baseline_us: int | None = None
    baseline_pages: int | None = None
    baseline_plan: tuple[str, ...] = ()


class Machine(_Part):
    """What the server's machine does, and what of it the server; percent are of the whole."""

    cpu_percent: float
    server_cpu_percent: float
    memory_bytes: int
    available_bytes: int
    server_bytes: int | None


class ServerLoad(_Part):
    """How busy the server is: shares from 0 to 1, since its counters began. None: not known.

    ``machine`` is known where the server's data directory is on this machine.
    """

    connections: int
    connections_most: int
    cache_hit: float | None
    index_use: float | None
    machine: Machine | None


class Performance(_Part):
    """What was measured of OpsSight's queries and of the server."""

    queries: tuple[QueryTime, ...] = ()
    server: ServerLoad | None = None


class Lost(_Part):
    """Time that the governor made a run wait, by cause, and the sentence that says so."""

    by_cause_ms: dict[str, int]
    sentence: str


class LastRun(_Part):
    """The newest run in the journal, as ``status`` tells it; ``steps`` only in ``verify``."""

    id: str
    command: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    steps: tuple[ReportStep, ...] = ()


class RunEntry(_Part):
    """One run of the journal, as ``history`` tells it."""

    id: str
    command: str
    environment: str
    status: str
    operator: str
    os_user: str
    host: str
    tool_version: str
    plan_digest: str
    revision_from: str | None
    revision_to: str
    started_at: datetime
    finished_at: datetime | None
    error: str | None


class Report(_Part):
    """One document for all verbs; times are RFC 3339 UTC, durations integer milliseconds.

    ``sql`` is what the run would execute, where that was asked for; it was not executed.
    """

    schema_version: Literal["1.0"] = "1.0"
    tool: str
    command: str
    run_id: str | None = None
    status: Status
    exit_code: int
    dry_run: bool = False
    started_at: datetime
    duration_ms: int
    environment: Environment | None = None
    revision: Revision | None = None
    plan_digest: str | None = None
    steps: tuple[ReportStep, ...] = ()
    announcements: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    shims: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    losses: tuple[LedgerLine, ...] = ()
    proof: Proof | None = None
    lost: Lost | None = None
    performance: Performance | None = None
    sql: str | None = None
    last_run: LastRun | None = None
    runs: tuple[RunEntry, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    next: tuple[Next, ...] = ()

    def to_json(self) -> str:
        """Return the document as text; key order is the order of this class."""
        return self.model_dump_json(indent=2, by_alias=True)


def utc_now() -> datetime:
    """Return now, in UTC, to the millisecond."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
