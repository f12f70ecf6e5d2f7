"""What a run would do, in the words the operator reads before saying yes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Literal


class Severity(StrEnum):
    """How much a finding matters. FAIL and WARN make ``verify`` exit 1; NOTE does not."""

    NOTE = "note"
    WARN = "warning"
    FAIL = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """Some lines that belong to a finding, such as a query plan, under a title."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it should be (or, as a NOTE, worth knowing).

    ``rows`` is how many rows are concerned, ``keys`` the first few of them, ``hint`` the next
    command, ``sql`` what would mend it; None or empty where it does not apply.
    """

    check_id: str
    severity: Severity
    message: str
    where: str | None = None
    rows: int | None = None
    keys: tuple[str, ...] = ()
    hint: str | None = None
    sql: str | None = None
    details: tuple[Detail, ...] = ()


PROMISED_MS = 50
"""How long the plan says, of each strong lock, that it will be held at most."""


class Obstacle(StrEnum):
    """What kind of reason a blocker is; each has its own error code."""

    REFUSED = "OM301"
    SHAPE = "OM302"
    PRIVILEGE = "OM303"
    STANDBY = "OM304"
    PUBLISHED = "OM308"
    OLD_RELEASE = "OM309"

    @property
    def may_be_allowed(self) -> bool:
        """Whether the operator may go on in spite of it, by naming its code."""
        return self in (Obstacle.PUBLISHED, Obstacle.OLD_RELEASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A reason not to begin."""

    message: str
    hint: str | None = None
    where: str | None = None
    kind: Obstacle = Obstacle.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedLock:
    """A lock that makes others wait, and how long each time it is held at most.

    ACCESS EXCLUSIVE stops those who read the table and those who write to it, the others the
    latter only.
    """

    relation: str
    mode: Literal["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"] = "ACCESS EXCLUSIVE"
    at_most_ms: int = PROMISED_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a step will touch. ``rows`` is None where a step moves none; ``locks`` by name.

    ``reference_s`` is how long it would take at the reference rates, ``wal_bytes`` what it
    would write to the WAL; both are guessed from statistics.
    """

    rows: int | None = None
    exact: bool = True
    locks: tuple[PromisedLock, ...] = ()
    notes: tuple[str, ...] = ()
    reference_s: float = 0.0
    wal_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How long a step is likely to take. ``runs`` of this database it was learnt from; 0: none,
    so that it is made of reference rates.
    """

    p50_s: float
    p90_s: float
    runs: int = 0


class Undo(StrEnum):
    """How a step can be taken back: as if it never was, with what it wrote kept in an archive,
    from a backup only, or not at all.
    """

    EXACT = "exact"
    ARCHIVE = "archive"
    FROM_BACKUP = "from backup"
    NONE = "none"


class LossKind(StrEnum):
    """What happens to something on the way back."""

    ARCHIVED = "archived"
    VALUES = "values archived"
    WRITTEN = "written since"
    CHANGED = "changed since"
    DELETED = "deleted since"
    UNKNOWN = "not in the backup"
    GOES = "goes"
    CONFLICT = "conflict"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One line of the loss ledger.

    ``rows`` is exact, None where no row is concerned; ``keys`` name the first few; ``query`` lists
    them all (of an object that goes: its definition).
    """

    kind: LossKind
    what: str
    rows: int | None = None
    keys: tuple[str, ...] = ()
    query: str | None = None

    @property
    def sentence(self) -> str:
        """Say it in words."""
        rows = "1 row" if self.rows == 1 else f"{self.rows or 0:,} rows"
        match self.kind:
            case LossKind.ARCHIVED:
                return f"{self.what}, {rows}"
            case LossKind.VALUES:
                return f"{self.what} of {rows}"
            case LossKind.WRITTEN:
                return f"{self.what}, {rows} that will not come back"
            case LossKind.CHANGED:
                return f"{self.what}, {rows} that will be again what they were"
            case LossKind.DELETED:
                return f"{self.what}, {rows} that will be there again"
            case LossKind.UNKNOWN:
                return f"{self.what}, {rows} that will not come back"
            case LossKind.CONFLICT:
                return f"{self.what}: {rows} share a value that would be unique again"
            case LossKind.GOES:
                return self.what
            case LossKind.NOTE:
                return self.what if self.rows is None else f"{self.rows:,} {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One line of the plan. ``undo`` is how it can be taken back; None: it is itself a way back."""

    step_id: str
    title: str
    kind: str
    estimate: Estimate
    forecast: Forecast = Forecast(p50_s=0.0, p90_s=0.0)
    begun: bool = False
    undo: Undo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """Who and what we are connected to. ``timescaledb`` is None where it is not installed."""

    host: str
    port: int
    name: str
    user: str
    server_version: str
    system_identifier: str
    database_oid: int
    timescaledb: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole: where the database is, where it goes, by which steps, and what we noticed.

    ``in_use`` are the tables on which others may be working; none where none has a row.
    """

    environment: str
    protected: bool
    origin: str
    database: DatabaseFacts
    revision_from: str | None
    revision_to: str
    steps: tuple[PlannedStep, ...]
    announcements: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    shims_after: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = field(default=())
    losses: tuple[Loss, ...] = ()
    in_use: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A short name for this plan; equal plans have equal names."""
        body = json.dumps(
            {
                "from": self.revision_from,
                "to": self.revision_to,
                "database": asdict(self.database),
                "steps": [_named(step) for step in self.steps],
                "announcements": self.announcements,
                **({"losses": [asdict(one) for one in self.losses]} if self.losses else {}),
            },
            sort_keys=True,
        )
        # The digest names what will be done; how long that takes is not part of it.
        hexed = hashlib.sha256(body.encode()).hexdigest()
        return f"{hexed[:4]}-{hexed[4:8]}"


def _named(step: PlannedStep) -> dict[str, object]:
    estimate = step.estimate
    locks = [[lock.relation, lock.mode] for lock in estimate.locks]
    return {"id": step.step_id, "rows": estimate.rows, "locks": locks}
