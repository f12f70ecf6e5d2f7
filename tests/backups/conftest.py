"""What the tests of backups share: keys, a shelf, and a backup made in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opssight_migrate.backups import creation, seal
from opssight_migrate.backups.creation import Order
from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.model.events import Event, unheard
from opssight_migrate.postgres.session import Session

Make = Callable[..., Shelved]


@dataclass(frozen=True, slots=True)
class Key:
    """An age key pair: ``text`` is secret, ``public`` goes into backup_recipients."""

    text: str
    public: str

    @property
    def identities(self) -> list[Any]:
        """The key as what opens a backup."""
        return [seal.pyrage.x25519.Identity.from_str(self.text)]


def new_key() -> Key:
    """Make a key pair."""
    identity = seal.pyrage.x25519.Identity.generate()
    return Key(str(identity), str(identity.to_public()))


@pytest.fixture(scope="session")
def key() -> Key:
    """The key pair that backups are sealed with."""
    return new_key()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A shelf that nothing was put on yet."""
    return Shelf(tmp_path / "shelf")


@pytest.fixture
def make(shelf: Shelf, key: Key) -> Make:
    """Make a backup of a session's database, sealed unless said otherwise."""

    def one(session: Session, *, events: list[Event] | None = None, **changes: Any) -> Shelved:
        given = {
            "environment": "test",
            "tool": "opssight-migrate test",
            "shelf": shelf,
            "recipients": (key.public,),
        }
        emit = unheard if events is None else events.append
        return creation.create(session, Order(**{**given, **changes}), emit)

    return one
