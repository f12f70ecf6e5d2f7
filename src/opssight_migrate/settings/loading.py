"""Reading the configuration from opssight.toml and the environment's variables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from opssight_migrate.model.errors import ConfigError
from opssight_migrate.settings.file import LOCAL, PREFIX, found, put, read
from opssight_migrate.settings.origins import BUILT_IN, KeyPath, nearest, origin
from opssight_migrate.settings.profile import EMBEDDED, Settings
from opssight_migrate.settings.tables import SOURCES

_DEFAULT: KeyPath = ("project", "default_environment")


def load(
    config: Path | None = None, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings of ``config``, OPSSIGHT_CONFIG or the nearest opssight.toml above.

    Raises: ConfigError, with every mistake of the file and the variables at once.
    """
    env = os.environ if env is None else env
    cwd = cwd or Path.cwd()
    named = config or env.get("OPSSIGHT_CONFIG")
    path = cwd / named if named else found(cwd, env.get("HOME"))
    origins: dict[KeyPath, str] = {}
    values = read(path, str(named or os.path.relpath(path, cwd)), origins) if path else {}
    if LOCAL not in _table(values, "environments"):
        put(values, ("environments", LOCAL, "url"), EMBEDDED)
        origins["environments", LOCAL, "url"] = BUILT_IN
    _override(values, env, origins)
    if chosen := env.get("OPSSIGHT_ENVIRONMENT"):
        put(values, _DEFAULT, chosen)
        origins[_DEFAULT] = "OPSSIGHT_ENVIRONMENT"
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _config_error(error.errors(include_input=False), origins) from None
    settings.origins.update(origins)
    return settings


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
        origins[path] = PREFIX + "__".join(spelled).upper()
    for path in found:
        known = _table(written, path[1]) if path[0] == "environments" else {}
        if path[2:] == ("protected",) and known.get("protected", False) is not False:
            raise ConfigError(
                f"{origins[path]}: no variable decides about the protection of {path[1]}",
                where=origins[path],
                hint=f"unset {origins[path]}",
            )
        if path[-1] in SOURCES:
            for key in SOURCES:
                known.pop(key, None)
    for path, value in found.items():
        put(values, path, value)


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _table(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def _config_error(mistakes: list[ErrorDetails], origins: dict[KeyPath, str]) -> ConfigError:
    lines: list[str] = []
    for mistake in mistakes:
        # The only rule of the whole is the one about the default environment.
        path = tuple(str(part) for part in mistake["loc"] if part != "[key]") or _DEFAULT
        text = mistake["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
        if mistake["type"] == "extra_forbidden":
            text = f"unknown key{nearest(path[-1], _known_keys(path))}"
        lines.append(
            f"{origin(origins, path)}: {'.'.join(path)}: {text.replace('Input should', 'must')}"
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
