"""What opens a sealed backup: an option, a command of the profile, or a person who is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from opssight_migrate.backups import passphrase, seal
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.model.errors import ConfigError
from opssight_migrate.settings import Profile

AskPassphrase = Callable[[str], SecretStr]
"""Asks a person for the passphrase of the backup of that name."""


def at_hand(
    profile: Profile, path: Path | None, backup: Shelved, ask: AskPassphrase | None
) -> Sequence[Any]:
    """Return what opens ``backup``; nothing where there is nothing, or it is plain.

    ``ask`` None means that nobody can be asked.

    Raises: ConfigError, WrongKeyError.
    """
    made, keys = backup.manifest, profile.backups
    if not made.is_sealed:
        return []
    if made.sealed_key is not None:
        if keys.passphrase_command is not None:
            given = seal.printed_by(keys.passphrase_command, "backup_passphrase_command")
            return passphrase.opened_key(made.sealed_key, given, str(backup.path))
        if ask is not None:
            given = ask(backup.path.name)
            return passphrase.opened_key(made.sealed_key, given, str(backup.path))
        return []
    if path is not None:
        return seal.identities_from(path)
    if keys.identity_command is not None:
        return seal.identities_printed_by(keys.identity_command)
    return []


def given(
    profile: Profile, path: Path | None, ask: AskPassphrase | None = None
) -> Callable[[Shelved], Sequence[Any]]:
    """Return what finds the identities for a backup and raises ConfigError where there are none."""

    def found(backup: Shelved) -> Sequence[Any]:
        identities = at_hand(profile, path, backup, ask)
        if not identities and backup.manifest.is_sealed:
            has_passphrase = backup.manifest.sealing == "passphrase"
            raise ConfigError(
                f"the backup is sealed, and no {'passphrase' if has_passphrase else 'identity'}"
                " is here",
                hint="run it where you can be asked, or set backup_passphrase_command"
                if has_passphrase
                else "give --identity FILE, or set backup_identity_command",
            )
        return identities

    return found
