"""A passphrase as the way in: it seals the key of one backup, and that key seals the parts.

age has no stream for passphrases, and would stretch one for each part anew.
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from opssight_migrate.backups.seal import pyrage
from opssight_migrate.model.errors import ManifestError, WrongKeyError


def new_key(passphrase: SecretStr) -> tuple[str, str]:
    """Make a key for one backup; return its public half, and itself, sealed, as age writes it."""
    identity = pyrage.x25519.Identity.generate()
    sealed: bytes = pyrage.passphrase.encrypt(
        str(identity).encode(), passphrase.get_secret_value(), armored=True
    )
    return str(identity.to_public()), sealed.decode()


def opened_key(sealed: str, passphrase: SecretStr, where: str) -> list[Any]:
    """Return the identity that opens the parts of the backup at ``where``.

    Raises: WrongKeyError, or ManifestError if what was sealed is no key.
    """
    try:
        text: bytes = pyrage.passphrase.decrypt(sealed.encode(), passphrase.get_secret_value())
    except pyrage.DecryptError:
        raise WrongKeyError(
            "the passphrase is not that of this backup",
            where=where,
            hint="give the same command again, with the passphrase that was in use then",
        ) from None
    try:
        return [pyrage.x25519.Identity.from_str(text.decode().strip())]
    except (pyrage.IdentityError, UnicodeDecodeError):
        raise ManifestError("what the passphrase opens is no key", where=where) from None
