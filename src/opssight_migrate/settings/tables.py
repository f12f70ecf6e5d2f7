"""The tables of opssight.toml: frozen, and a typo cannot pass for a default."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pytimeparse.timeparse import timeparse

from opssight_migrate.settings.file import LOCAL
from opssight_migrate.settings.platform import HttpRequest, checked_url

SOURCES = ("url", "url_env", "service")

_MILLISECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*ms\s*")


def duration(value: object) -> timedelta:
    """Return the time that a text such as "40ms", "5m", "1h30m" or "7d" means.

    Raises: ValueError, if it is no text, lacks its unit, or is not more than nothing.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError('a duration is text with a unit: write "5m"')
    milliseconds = _MILLISECONDS.fullmatch(value)
    seconds = float(milliseconds[1]) / 1000 if milliseconds else timeparse(value)
    if not seconds or seconds < 0:
        raise ValueError('not a duration: write one such as "40ms", "5m", "1h30m" or "7d"')
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError("a duration longer than anyone can wait") from None


Duration = Annotated[timedelta, BeforeValidator(duration)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
EnvironmentName = Annotated[str, Field(pattern=r"^[a-z0-9]+([_-][a-z0-9]+)*$", max_length=63)]
DefaultRole = Literal["SUPER_ADMIN", "ADMIN", "MANAGER", "ENGINEER", "VIEWER", "none"]
Operator = Annotated[str, Field(pattern=r"^(db|os):.+$")]
OnFailure = Literal["rollback", "stop"]


BackupPolicy = Literal["auto", "required", "never"]


def _listed(value: object) -> object:
    """Split the text of a variable, which cannot hold a list."""
    if not isinstance(value, str):
        return value
    return tuple(one.strip() for one in value.split(",") if one.strip())


Recipient = Annotated[str, Field(pattern=r"^(age1[0-9a-z]+|ssh-(ed25519|rsa) \S+( .*)?)$")]


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Project(Table):
    """[project]. ``target_revision`` None means the newest revision of this program."""

    default_environment: str = LOCAL
    target_revision: Annotated[str, Field(pattern=r"^[0-9a-z_]+$")] | None = None


class BackupKeys(Table):
    """The keys about backups. None means: as in [defaults], or as built in."""

    backup: BackupPolicy | None = None
    backup_dir: Text | None = None
    backup_recipients: Annotated[tuple[Recipient, ...], BeforeValidator(_listed)] | None = None
    backup_identity_command: Secret | None = None
    backup_passphrase_command: Secret | None = None
    backup_manifest_key: Secret | None = None
    backup_plain: bool | None = None
    backup_jobs: Annotated[int, Field(ge=1, le=64)] | None = None

    @model_validator(mode="after")
    def _are_sealed_in_one_way(self) -> Self:
        if self.backup_recipients and self.backup_passphrase_command:
            raise ValueError(
                "backup_recipients and backup_passphrase_command are given: keep one of them"
            )
        return self


class Defaults(BackupKeys):
    """[defaults], for every environment that does not say otherwise."""

    lock_budget: Duration = timedelta(minutes=5)
    batch_target: Duration = timedelta(milliseconds=40)
    stall_budget: Duration = timedelta(milliseconds=500)
    on_failure: OnFailure = "rollback"


class Organization(Table):
    """The organization that gets what belongs to nobody; as long as its columns allow."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = "Default Organization"
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)] = "default"


class Tenancy(Table):
    """[tenancy]."""

    default_organization: Organization = Organization()


class Rbac(Table):
    """[rbac]. "none" leaves a user without a role without one."""

    default_role: DefaultRole = "VIEWER"


class CompressAfter(Table):
    """The age at which TimescaleDB compresses a chunk."""

    metrics: Duration = timedelta(days=7)
    log_entries: Duration = timedelta(days=3)


class RetainFor(Table):
    """The age at which TimescaleDB drops a chunk, with its rows. None: never."""

    metrics: Duration | None = None
    log_entries: Duration | None = None


class TimeSeries(Table):
    """[time_series]. "auto" takes TimescaleDB where the database has it; "timescaledb" demands it.

    ``cut_over``: how a table with rows becomes a chunk: "atomic" stops everybody for the scan that
    TimescaleDB makes, "write-available" nobody, and until it is over reads miss the older rows.
    """

    engine: Literal["auto", "timescaledb", "plain"] = "auto"
    chunk_interval: Duration = timedelta(days=7)
    compress_after: CompressAfter = CompressAfter()
    segment_by: Text = "organization_id"
    order_by: Annotated[str, Field(pattern=r"^[a-z_]+( (ASC|DESC))?$")] = "timestamp DESC"
    retain: RetainFor = RetainFor()
    cut_over: Literal["auto", "atomic", "write-available"] = "auto"


class Governor(Table):
    """[governor]: what others must not suffer, and how long one cause may hold a run up."""

    replica_lag: Duration = timedelta(seconds=1)
    replica_lag_mb: Annotated[int, Field(ge=1)] = 16
    ignored_replicas: tuple[Text, ...] = ()
    oldest_transaction: Duration = timedelta(minutes=1)
    commit_latency: Duration = timedelta(milliseconds=200)
    budget: Duration = timedelta(minutes=30)


class OldRelease(Table):
    """[old_release]. ``statements`` names a file of further statements that must go on working."""

    rehearse: bool = True
    statements: Text | None = None


class Verify(Table):
    """[verify]. ``rehearse``: try a rollback in a scratch database, of a sample of the rows.

    ``http`` is what to ask of the running platform, by name.
    """

    rehearse: bool = True
    http: dict[EnvironmentName, HttpRequest] = {}


class Cleanup(Table):
    """[cleanup]: the floor. What is among the newest ``keep_last`` is never retired.

    ``keep_retired_days`` is for the databases that rollbacks of data set aside.
    """

    keep_last: Annotated[int, Field(ge=1)] = 3
    keep_days: Annotated[int, Field(ge=0)] = 30
    keep_retired_days: Annotated[int, Field(ge=0)] = 30


class Hooks(Table):
    """[hooks]: who hears how a verb ended. Addresses and commands may hold a token: secrets."""

    webhook: Secret | None = None
    webhook_secret: Secret | None = None
    on_success: Secret | None = None
    on_failure: Secret | None = None
    timeout: Duration = timedelta(seconds=10)

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("write https://… or http://…")
        return value

    @field_validator("on_success", "on_failure")
    @classmethod
    def _is_a_command(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            try:
                shlex.split(value.get_secret_value())
            except ValueError:
                raise ValueError("a quote is not closed") from None
        return value


class Environment(BackupKeys):
    """[environments.NAME]. None means: as in [defaults], or as libpq would do it."""

    url: Secret | None = None
    url_env: Text | None = None
    service: Text | None = None
    password_command: Secret | None = None
    protected: bool = False
    operators: tuple[Operator, ...] = ()
    hooks: Hooks | None = None
    tls: Literal["require", "off"] | None = None
    platform_url: Annotated[str, AfterValidator(checked_url)] | None = None
    lock_budget: Duration | None = None
    batch_target: Duration | None = None
    stall_budget: Duration | None = None
    on_failure: OnFailure | None = None

    @model_validator(mode="after")
    def _says_once_where_the_database_is(self) -> Self:
        given = [source for source in SOURCES if getattr(self, source) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: keep one of them")
        return self
