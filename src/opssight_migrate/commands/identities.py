"""Where the identity that opens a sealed backup comes from: an option, or a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opssight_migrate.backups import seal
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.model.errors import ConfigError
from opssight_migrate.settings import Profile


def given(profile: Profile, path: Path | None) -> Callable[[Shelved], Sequence[Any]]:
    """Return what finds the identity for a backup; without one it raises ConfigError."""

    def found(backup: Shelved) -> Sequence[Any]:
        del backup
        if path is not None:
            return seal.identities_from(path)
        if profile.backups.identity_command is not None:
            return seal.identities_printed_by(profile.backups.identity_command)
        raise ConfigError(
            "the backup is sealed, and no identity is here",
            hint="give --identity FILE, or set backup_identity_command",
        )

    return found
