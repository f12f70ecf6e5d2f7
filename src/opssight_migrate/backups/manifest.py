"""The manifest beside a backup: what is in it, where it came from, and how to tell it is whole."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from opssight_migrate.model.errors import ManifestError

SUFFIX = ".manifest.json"

Section = Literal["all", "pre-data", "data", "post-data"]
Sealing = Literal["plain", "keys", "passphrase"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableFacts(_Part):
    """The rows of one table and their digest, over ``columns``, in the dump's own snapshot."""

    columns: tuple[str, ...]
    rows: int
    digest: str


class Origin(_Part):
    """The database that was dumped."""

    host: str
    port: int
    name: str
    system_identifier: str
    database_oid: int
    server_version: str


class Properties(_Part):
    """What belongs to the database itself and is in no dump."""

    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str | None
    comment: str | None
    connection_limit: int
    grants: tuple[tuple[str | None, str, bool], ...] | None
    settings: tuple[tuple[str | None, str, str], ...]
    tablespace: str


class DumpPart(_Part):
    """One file of a backup. ``sha256`` is that of the file as it lies there, sealed or not.

    ``holds`` says which of pg_dump's sections are in it; the parts are restored as they are listed.
    """

    name: str
    holds: Section
    bytes: int
    sha256: str


class Manifest(_Part):
    """Everything that is known of a backup without opening it.

    ``hmac`` is there where the profile has a backup_manifest_key; ``proven`` is true if the dump
    was restored as it was made, and every table came out as it went in. ``sealed_key`` is there
    where it is sealed with a passphrase: the age identity that opens the parts, itself sealed.
    ``table_bytes`` is what the tables took on the server.
    """

    format: Literal[1] = 1
    tool: str
    made_at: datetime
    environment: str
    revision: str | None
    origin: Origin
    client_version: str
    wal_position: str
    timeline: int | None
    properties: Properties
    tables: dict[str, TableFacts]
    table_bytes: int
    sealing: Sealing
    sealed_key: str | None = None
    parts: Annotated[tuple[DumpPart, ...], Field(min_length=1)]
    proven: bool
    hmac: str | None = None

    @property
    def is_sealed(self) -> bool:
        """Whether something has to be given that opens it."""
        return self.sealing != "plain"

    @property
    def bytes(self) -> int:
        """All bytes of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(table.rows for table in self.tables.values())

    @property
    def dumped_by_major(self) -> int:
        """The major version of the pg_dump that wrote it."""
        return int(self.client_version.split(".", 1)[0])

    def signed(self, key: SecretStr | None) -> Manifest:
        """Return the manifest with an HMAC by ``key``, or as it is without a key."""
        return self if key is None else self.model_copy(update={"hmac": _hmac(self, key)})

    def to_json(self) -> str:
        """Return the text of the file."""
        return self.model_dump_json(indent=2) + "\n"


def read(content: bytes, where: str) -> Manifest:
    """Return the manifest in ``content``.

    Raises: ManifestError, about ``where``.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ManifestError(
            f"the manifest cannot be read: {place + ': ' if place else ''}{first['msg']}",
            where=where,
            hint="take another backup: opssight-migrate backup list",
        ) from None


def check_signature(manifest: Manifest, key: SecretStr | None, where: str) -> bool:
    """Tell whether the HMAC could be checked; False where there is no key here.

    Raises: ManifestError, if it is missing though a key is here, or is another one.
    """
    if key is None:
        return False
    if manifest.hmac is None or not hmac.compare_digest(manifest.hmac, _hmac(manifest, key)):
        what = "carries no HMAC" if manifest.hmac is None else "was not signed with this key"
        raise ManifestError(
            f"the manifest {what}, and backup_manifest_key says that it must",
            where=where,
            hint="take another backup, or the key that was in use when this one was made",
        )
    return True


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 that stands in the journal and in the report."""
    return hashlib.sha256(content).hexdigest()


def _hmac(manifest: Manifest, key: SecretStr) -> str:
    body: dict[str, Any] = manifest.model_dump(mode="json", exclude={"hmac"})
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hmac.new(key.get_secret_value().encode(), text.encode(), hashlib.sha256).hexdigest()
