"""What a check is: a question to the database, asked in a READ ONLY transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from opssight_migrate.model.plan import Finding
from opssight_migrate.postgres.session import Session


class Check(ABC):
    """Something that must hold. ``id`` names the state; ``needs`` is the revision it begins at."""

    id: str
    title: str
    category: str
    needs: str

    @abstractmethod
    def run(self, session: Session) -> Iterable[Finding]:
        """Say what does not hold, with the rows and the first keys; nothing when all is well."""
