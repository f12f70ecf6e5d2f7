"""Every value of the configuration with who wrote it; secrets are stars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opssight_migrate.settings.origins import KeyPath, origin
from opssight_migrate.settings.profile import Settings


def listed(settings: Settings, environment: str) -> Iterator[tuple[str, str, str]]:
    """Yield (key, value, origin) for all that concerns ``environment`` and is set at all."""
    for path, value in _leaves(settings.model_dump(mode="json")):
        if value is None or (path[0] == "environments" and path[1] != environment):
            continue
        yield ".".join(path), str(value), origin(settings.origins, path)


def _leaves(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
