"""What a check is: a question to the database, asked in a READ ONLY transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opssight_migrate.model.categories import CATEGORIES as CATEGORIES
from opssight_migrate.model.events import Emit, unheard
from opssight_migrate.model.plan import Finding
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings.tables import TimeSeries
from opssight_migrate.web import Request


class NotAskableError(Exception):
    """A question that cannot be asked of this database after all; the text says why."""


Rehearsal = Callable[[Session, str], Iterable[Finding]]
"""Tries something in a scratch database, for the check of that id. Raises: NotAskableError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """What a check may use: a session inside its transaction, and the settings it compares with.

    ``lock_budget_s`` is how long one that reads waits for a table that somebody has locked;
    ``rehearsal`` is None where none may be held; ``emit`` tells what was measured, beside what was
    found.
    """

    session: Session
    time_series: TimeSeries = field(default_factory=TimeSeries)
    default_role: str = "VIEWER"
    probing: bool = False
    lock_budget_s: float = 300.0
    rehearsal: Rehearsal | None = None
    requests: tuple[Request, ...] = ()
    emit: Emit = unheard


class Check(ABC):
    """Something that must hold. ``id`` names the state; ``needs`` is the revision it begins at."""

    id: str
    title: str
    category: str
    needs: str

    @abstractmethod
    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Say what does not hold, with the rows and the first keys; nothing when all is well."""

    def skipped(self, ctx: CheckContext) -> str | None:
        """Say why there is nothing to ask in this database, or None where there is."""
        del ctx
        return None

    def probe(self, ctx: CheckContext) -> Iterable[Finding]:
        """Try by writing, in a transaction that is rolled back whatever comes of it.

        Asked for by the operator alone. Give rows an explicit negative id: a sequence that moved
        does not move back.
        """
        del ctx
        return ()

    def rehearse(self, ctx: CheckContext) -> Iterable[Finding]:
        """Try elsewhere: in a scratch database, or by asking the platform.

        The operator's own database is in no transaction then.

        Raises: NotAskableError.
        """
        del ctx
        return ()
