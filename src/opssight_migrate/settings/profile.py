"""The whole configuration, and one environment of it with nothing left to look up."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Self

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from opssight_migrate.model.errors import UnknownEnvironmentError
from opssight_migrate.settings.backups import Backups, backups_of
from opssight_migrate.settings.file import PREFIX
from opssight_migrate.settings.origins import KeyPath, nearest, origin
from opssight_migrate.settings.tables import (
    SOURCES,
    Cleanup,
    Defaults,
    Environment,
    EnvironmentName,
    Governor,
    Hooks,
    OldRelease,
    OnFailure,
    Project,
    Rbac,
    Tenancy,
    TimeSeries,
    Verify,
)

EMBEDDED = "embedded"
LIBPQ = "PG* variables and libpq's defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One environment with nothing left to look up. ``origin`` says who chose the connection."""

    name: str
    protected: bool
    operators: tuple[str, ...]
    origin: str
    url: SecretStr | None
    url_env: str | None
    service: str | None
    password_command: SecretStr | None
    tls: Literal["require", "off"] | None
    lock_budget: timedelta
    batch_target: timedelta
    stall_budget: timedelta
    on_failure: OnFailure
    target_revision: str | None
    tenancy: Tenancy
    rbac: Rbac
    time_series: TimeSeries
    old_release: OldRelease
    governor: Governor
    platform_url: str | None = None
    backups: Backups = field(default_factory=Backups)
    hooks: Hooks = field(default_factory=Hooks)

    @property
    def is_embedded(self) -> bool:
        """Whether the database is that of the private server which we start ourselves."""
        return self.url is not None and self.url.get_secret_value() == EMBEDDED


class Settings(BaseSettings):
    """The whole configuration. Made by ``load``, which knows the file and the variables."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    project: Project = Project()
    defaults: Defaults = Defaults()
    tenancy: Tenancy = Tenancy()
    rbac: Rbac = Rbac()
    time_series: TimeSeries = TimeSeries()
    old_release: OldRelease = OldRelease()
    governor: Governor = Governor()
    cleanup: Cleanup = Cleanup()
    hooks: Hooks = Hooks()
    verify: Verify = Verify()
    environments: dict[EnvironmentName, Environment] = {}

    _origins: dict[KeyPath, str] = {}

    @property
    def origins(self) -> dict[KeyPath, str]:
        """Who wrote each value that is not a default: a line of the file, or a variable."""
        return self._origins

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what ``load`` put together: a url in a variable replaces a service in the file."""
        return (init_settings,)

    @model_validator(mode="after")
    def _default_environment_is_harmless(self) -> Self:
        name = self.project.default_environment
        if name not in self.environments:
            raise ValueError(f'there is no environment "{name}"{nearest(name, self.environments)}')
        if self.environments[name].protected:
            raise ValueError(
                f'"{name}" is protected and cannot be the default: name it with -e {name}'
            )
        return self

    def profile(self, name: str | None) -> Profile:
        """Return the environment called ``name``, or the default one.

        Raises: UnknownEnvironmentError, with the nearest names.
        """
        name = name or self.project.default_environment
        if name not in self.environments:
            raise UnknownEnvironmentError(
                f'there is no environment "{name}"{nearest(name, self.environments)}',
                hint=f"write one of: {', '.join(sorted(self.environments))}",
            )
        chosen = self.environments[name]
        source = next((key for key in SOURCES if getattr(chosen, key) is not None), None)
        path = ("environments", name, source or "")
        return Profile(
            name=name,
            protected=chosen.protected,
            operators=chosen.operators,
            origin=origin(self.origins, path) if source else LIBPQ,
            url=chosen.url,
            url_env=chosen.url_env,
            service=chosen.service,
            password_command=chosen.password_command,
            tls=chosen.tls,
            lock_budget=chosen.lock_budget or self.defaults.lock_budget,
            batch_target=chosen.batch_target or self.defaults.batch_target,
            stall_budget=chosen.stall_budget or self.defaults.stall_budget,
            on_failure=chosen.on_failure or self.defaults.on_failure,
            target_revision=self.project.target_revision,
            tenancy=self.tenancy,
            rbac=self.rbac,
            time_series=self.time_series,
            old_release=self.old_release,
            governor=self.governor,
            platform_url=chosen.platform_url,
            hooks=chosen.hooks or self.hooks,
            backups=backups_of(
                chosen,
                self.defaults,
                is_embedded=chosen.url is not None and chosen.url.get_secret_value() == EMBEDDED,
            ),
        )

    def digest(self) -> str:
        """Return a sha256 over everything but the secrets, which count as there or not there."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()
