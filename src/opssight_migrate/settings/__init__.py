"""Profiles from opssight.toml and the environment: typed, frozen, unknown keys refused.

What is named here is imported when it is first used: completion needs ``file`` and ``places``
only, and pydantic takes longer than all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opssight_migrate.settings.file import FILE_NAME
    from opssight_migrate.settings.loading import load
    from opssight_migrate.settings.origins import BUILT_IN
    from opssight_migrate.settings.profile import EMBEDDED, LIBPQ, Profile, Settings
    from opssight_migrate.settings.tables import (
        Environment,
        Governor,
        Project,
        TimeSeries,
        duration,
    )

__all__ = [
    "BUILT_IN",
    "EMBEDDED",
    "FILE_NAME",
    "LIBPQ",
    "Environment",
    "Governor",
    "Profile",
    "Project",
    "Settings",
    "TimeSeries",
    "duration",
    "load",
]

_HOMES = {
    "file": ["FILE_NAME"],
    "loading": ["load"],
    "origins": ["BUILT_IN"],
    "profile": ["EMBEDDED", "LIBPQ", "Profile", "Settings"],
    "tables": ["Environment", "Governor", "Project", "TimeSeries", "duration"],
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
