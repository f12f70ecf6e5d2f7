"""Finding and reading opssight.toml: by the standard library alone, since Tab reads it too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opssight_migrate.model.errors import ConfigError
from opssight_migrate.settings.origins import KeyPath

FILE_NAME = "opssight.toml"
PREFIX = "OPSSIGHT_"
LOCAL = "local"

_WRITTEN = re.compile(r"""\s*(?:\[\s*([^\[\]]+)\]|([\w.\-"'\t ]+?)\s*=)""")


def found(cwd: Path, home: str | None) -> Path | None:
    """Return the nearest file from ``cwd`` up to the repository's root or ``home``."""
    for directory in (cwd, *cwd.parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
        if (directory / ".git").exists() or str(directory) == home:
            return None
    return None


def read(path: Path, shown: str, origins: dict[KeyPath, str]) -> dict[str, Any]:
    """Return the tables of a file, and put the line of each key into ``origins``.

    ``shown`` is how the operator knows the file. Raises: ConfigError.
    """
    import tomllib  # it compiles three patterns first, and --help reads no file

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


def put(values: dict[str, Any], path: KeyPath, value: object) -> None:
    """Set the value at ``path``; a value that stands where a table should is left alone."""
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return  # what stands here is no table, and will be refused for that
        values = inner
    values[path[-1]] = value


def glance(config: str | None, env: Mapping[str, str]) -> dict[str, Any]:
    """Return what the file and the variables say, unchecked; nothing while they cannot be read.

    For the shell's completion: whoever acts on the configuration calls ``load``.
    """
    named = config or env.get("OPSSIGHT_CONFIG")
    path = Path(named) if named else found(Path.cwd(), env.get("HOME"))
    try:
        values = read(path, "", {}) if path else {}
    except ConfigError:
        return {}
    known = values.setdefault("environments", {})
    folded = {name.replace("-", "_"): name for name in known}
    for name, text in env.items():
        if name.startswith(PREFIX) and "__" in name:
            table, *rest = name.removeprefix(PREFIX).lower().split("__")
            if table == "environments" and rest:
                rest[0] = folded.get(rest[0].replace("-", "_"), rest[0])
            put(values, (table, *rest), text)
    put(values, ("environments", LOCAL), known.get(LOCAL, {}))
    if chosen := env.get("OPSSIGHT_ENVIRONMENT"):
        put(values, ("project", "default_environment"), chosen)
    return values


def environment_of(values: Mapping[str, Any], name: str | None) -> tuple[str, dict[str, Any]]:
    """Return the name and the table of an environment, of the default one for None."""
    project, tables = values.get("project"), values.get("environments")
    default = project.get("default_environment") if isinstance(project, dict) else None
    name = name or str(default or LOCAL)
    found_table = tables.get(name) if isinstance(tables, dict) else None
    return name, found_table if isinstance(found_table, dict) else {}
