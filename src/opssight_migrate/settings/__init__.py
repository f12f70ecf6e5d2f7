"""Profiles from opssight.toml and the environment: typed, frozen, unknown keys refused."""

from opssight_migrate.settings.loading import FILE_NAME, load
from opssight_migrate.settings.origins import BUILT_IN
from opssight_migrate.settings.profile import EMBEDDED, LIBPQ, Profile, Settings
from opssight_migrate.settings.tables import Environment, Governor, Project, duration

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
    "duration",
    "load",
]
