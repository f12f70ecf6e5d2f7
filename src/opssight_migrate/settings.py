"""Profiles from opssight.toml and the environment: frozen, and a typo cannot pass for a default."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pytimeparse.timeparse import timeparse

from opssight_migrate.model.errors import ConfigError, UnknownEnvironmentError

FILE_NAME = "opssight.toml"
EMBEDDED = "embedded"
BUILT_IN = "built-in default"
LIBPQ = "PG* variables and libpq's defaults"

_LOCAL = "local"
_PREFIX = "OPSSIGHT_"
_SOURCES = ("url", "url_env", "service")
_MILLISECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*ms\s*")
_WRITTEN = re.compile(r"""\s*(?:\[\s*([^\[\]]+)\]|([\w.\-"'\t ]+?)\s*=)""")

KeyPath = tuple[str, ...]
_DEFAULT: KeyPath = ("project", "default_environment")


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
OnFailure = Literal["stop"]  # "rollback" comes with the unwinder


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Project(_Table):
    """[project]. ``target_revision`` None means the newest revision of this program."""

    default_environment: str = _LOCAL
    target_revision: Annotated[str, Field(pattern=r"^[0-9a-z_]+$")] | None = None


class Defaults(_Table):
    """[defaults], for every environment that does not say otherwise."""

    lock_budget: Duration = timedelta(minutes=5)
    batch_target: Duration = timedelta(milliseconds=40)
    on_failure: OnFailure = "stop"


class Organization(_Table):
    """The organization that gets what belongs to nobody; as long as its columns allow."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = "Default Organization"
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)] = "default"


class Tenancy(_Table):
    """[tenancy]."""

    default_organization: Organization = Organization()


class Rbac(_Table):
    """[rbac]. "none" leaves a user without a role without one."""

    default_role: DefaultRole = "VIEWER"


class CompressAfter(_Table):
    """The age at which TimescaleDB compresses a chunk."""

    metrics: Duration = timedelta(days=7)
    log_entries: Duration = timedelta(days=3)


class TimeSeries(_Table):
    """[time_series]. "auto" takes TimescaleDB where the database has it."""

    engine: Literal["auto", "timescaledb", "plain"] = "auto"
    compress_after: CompressAfter = CompressAfter()


class Environment(_Table):
    """[environments.NAME]. None means: as in [defaults], or as libpq would do it."""

    url: Secret | None = None
    url_env: Text | None = None
    service: Text | None = None
    password_command: Secret | None = None
    protected: bool = False
    tls: Literal["require", "off"] | None = None
    lock_budget: Duration | None = None
    batch_target: Duration | None = None
    on_failure: OnFailure | None = None

    @model_validator(mode="after")
    def _says_once_where_the_database_is(self) -> Self:
        given = [source for source in _SOURCES if getattr(self, source) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: keep one of them")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One environment with nothing left to look up. ``origin`` says who chose the connection."""

    name: str
    protected: bool
    origin: str
    url: SecretStr | None
    url_env: str | None
    service: str | None
    password_command: SecretStr | None
    tls: Literal["require", "off"] | None
    lock_budget: timedelta
    batch_target: timedelta
    on_failure: OnFailure
    target_revision: str | None
    tenancy: Tenancy
    rbac: Rbac
    time_series: TimeSeries

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
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
    )

    project: Project = Project()
    defaults: Defaults = Defaults()
    tenancy: Tenancy = Tenancy()
    rbac: Rbac = Rbac()
    time_series: TimeSeries = TimeSeries()
    environments: dict[EnvironmentName, Environment] = {}

    _origins: dict[KeyPath, str] = {}

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
            raise ValueError(f'there is no environment "{name}"{_nearest(name, self.environments)}')
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
                f'there is no environment "{name}"{_nearest(name, self.environments)}',
                hint=f"write one of: {', '.join(sorted(self.environments))}",
            )
        chosen = self.environments[name]
        source = next((key for key in _SOURCES if getattr(chosen, key) is not None), None)
        origin = _origin(self._origins, ("environments", name, source)) if source else LIBPQ
        return Profile(
            name=name,
            protected=chosen.protected,
            origin=origin,
            url=chosen.url,
            url_env=chosen.url_env,
            service=chosen.service,
            password_command=chosen.password_command,
            tls=chosen.tls,
            lock_budget=chosen.lock_budget or self.defaults.lock_budget,
            batch_target=chosen.batch_target or self.defaults.batch_target,
            on_failure=chosen.on_failure or self.defaults.on_failure,
            target_revision=self.project.target_revision,
            tenancy=self.tenancy,
            rbac=self.rbac,
            time_series=self.time_series,
        )

    def digest(self) -> str:
        """Return a sha256 over everything but the secrets, which count as there or not there."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()


def load(
    config: Path | None = None, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of ``config``, OPSSIGHT_CONFIG or the nearest opssight.toml above.

    Raises: ConfigError, with every mistake of the file and the variables at once.
    """
    env = os.environ if env is None else env
    cwd = cwd or Path.cwd()
    named = config or env.get("OPSSIGHT_CONFIG")
    path = cwd / named if named else _found(cwd, env.get("HOME"))
    origins: dict[KeyPath, str] = {}
    values = _read(path, str(named or os.path.relpath(path, cwd)), origins) if path else {}
    if _LOCAL not in _table(values, "environments"):
        _put(values, ("environments", _LOCAL, "url"), EMBEDDED)
        origins["environments", _LOCAL, "url"] = BUILT_IN
    _override(values, env, origins)
    if chosen := env.get("OPSSIGHT_ENVIRONMENT"):
        _put(values, _DEFAULT, chosen)
        origins[_DEFAULT] = "OPSSIGHT_ENVIRONMENT"
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _config_error(error.errors(include_input=False), origins) from None
    settings._origins.update(origins)
    return settings


def _found(cwd: Path, home: str | None) -> Path | None:
    for directory in (cwd, *cwd.parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
        if (directory / ".git").exists() or str(directory) == home:
            return None
    return None


def _read(path: Path, shown: str, origins: dict[KeyPath, str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (OSError, ValueError) as error:  # not there, not UTF-8, not TOML
        raise ConfigError(
            f"cannot read {shown}: {error}",
            where=shown,
            hint="correct it, or name another file with --config or OPSSIGHT_CONFIG",
        ) from None
    table: KeyPath = ()
    for number, line in enumerate(text.split("\n"), 1):
        if written := _WRITTEN.match(line):
            names = tuple(part.strip(" \t\"'") for part in (written[1] or written[2]).split("."))
            table, key = (names, names) if written[1] else (table, (*table, *names))
            origins.setdefault(key, f"{shown}:{number}")
    return values


def _override(values: dict[str, Any], env: Mapping[str, str], origins: dict[KeyPath, str]) -> None:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): text for name, text in env.items() if text and "__" in name}
    written = _table(values, "environments")
    folded = {name.replace("-", "_"): name for name in written}
    found: dict[KeyPath, object] = {}
    for spelled, value in _leaves(source()):
        path = spelled
        if path[0] == "environments" and path[1] not in written:
            # A shell allows no hyphen in a variable's name: EU_WEST is the file's eu-west.
            path = (path[0], folded.get(path[1].replace("-", "_"), path[1]), *path[2:])
        found[path] = value
        origins[path] = _PREFIX + "__".join(spelled).upper()
    for path in found:
        known = _table(written, path[1]) if path[0] == "environments" else {}
        if path[2:] == ("protected",) and known.get("protected", False) is not False:
            raise ConfigError(
                f"{origins[path]}: no variable decides about the protection of {path[1]}",
                where=origins[path],
                hint=f"unset {origins[path]}",
            )
        if path[-1] in _SOURCES:
            for key in _SOURCES:
                known.pop(key, None)
    for path, value in found.items():
        _put(values, path, value)


def _put(values: dict[str, Any], path: KeyPath, value: object) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # what stands here is no table, and will be refused for that
        values = inner
    values[path[-1]] = value


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _table(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _origin(origins: Mapping[KeyPath, str], path: KeyPath) -> str:
    inside = (place for key, place in origins.items() if key[: len(path)] == path)
    around = (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins)
    return next(chain(inside, around), BUILT_IN)


def _config_error(mistakes: list[ErrorDetails], origins: dict[KeyPath, str]) -> ConfigError:
    lines: list[str] = []
    for mistake in mistakes:
        # The only rule of the whole is the one about the default environment.
        path = tuple(str(part) for part in mistake["loc"] if part != "[key]") or _DEFAULT
        text = mistake["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
        if mistake["type"] == "extra_forbidden":
            text = f"unknown key{_nearest(path[-1], _known_keys(path))}"
        lines.append(
            f"{_origin(origins, path)}: {'.'.join(path)}: {text.replace('Input should', 'must')}"
        )
    return ConfigError(
        lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} mistakes", *lines]),
        where=lines[0].split(": ", 1)[0],
        hint="correct this, and give the same command again",
    )


def _known_keys(path: KeyPath) -> list[str]:
    model: Any = Settings
    for part in path[:-1]:
        is_dict = get_origin(model) is dict
        model = get_args(model)[1] if is_dict else model.model_fields[part].annotation
    return list(model.model_fields)


def _nearest(word: str, words: Collection[str]) -> str:
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(words))}"
