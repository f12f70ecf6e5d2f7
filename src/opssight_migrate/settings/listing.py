"""Every value of the configuration with who wrote it; secrets are stars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from opssight_migrate.settings.origins import KeyPath, origin
from opssight_migrate.settings.profile import Settings

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


def listed(settings: Settings, environment: str) -> Iterator[tuple[str, str, str]]:
    """Yield (key, value, origin) for all that concerns ``environment`` and is set at all."""
    for path, value in _leaves(settings.model_dump()):
        if value is None or (path[0] == "environments" and path[1] != environment):
            continue
        yield ".".join(path), _as_written(value), origin(settings.origins, path)


def _as_written(value: object) -> str:
    """Return a value as one would write it in the file."""
    if isinstance(value, timedelta):
        ms = round(value.total_seconds() * 1000)
        size, unit = next((size, unit) for size, unit in _UNITS if ms % size == 0)
        return f"{ms // size}{unit}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_as_written, value))}]"
    return str(value)


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
