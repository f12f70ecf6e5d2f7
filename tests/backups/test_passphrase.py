"""A passphrase instead of a key pair; it opens that backup and no other."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from tests.backups.conftest import Key, Make

from opssight_migrate.backups import passphrase, seal, verification
from opssight_migrate.model.errors import ManifestError, WrongKeyError
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
restores = pytest.mark.needs_further_grants("a backup is restored into a new database")

WORDS = SecretStr("correct horse battery stäple")


@restores
def test_a_passphrase_opens_the_backup_and_a_wrong_one_does_not(
    populated: Session, make: Make, key: Key
) -> None:
    made = make(populated, recipients=(), passphrase=WORDS, jobs=2)

    sealed = made.manifest.sealed_key
    assert sealed is not None
    assert made.manifest.sealing == "passphrase"
    assert WORDS.get_secret_value() not in made.manifest_path.read_text()
    assert all(path.read_bytes().startswith(b"age-encryption.org/v1") for path in made.paths)
    identities = passphrase.opened_key(sealed, WORDS, "test")
    verification.check_restore(made, identities, populated)
    with pytest.raises(WrongKeyError, match="passphrase"):
        passphrase.opened_key(sealed, SecretStr("another"), "test")
    with pytest.raises(WrongKeyError):
        verification.check_seal(made, key.identities)
    again = make(populated, recipients=(), passphrase=WORDS)
    assert again.manifest.sealed_key != sealed
    with pytest.raises(WrongKeyError):
        verification.check_seal(again, identities)


def test_what_is_no_key_behind_the_passphrase_is_said_so() -> None:
    sealed = seal.pyrage.passphrase.encrypt(b"hello", "words", armored=True).decode()

    with pytest.raises(ManifestError, match="no key"):
        passphrase.opened_key(sealed, SecretStr("words"), "test")
