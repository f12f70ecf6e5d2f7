"""What the shell offers after Tab, found without connecting to anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.opssight.revisions import REVISIONS


def environments(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the environments of the configuration; none while it cannot be read."""
    from opssight_migrate import settings

    given: Any = ctx.params.get("config")
    try:
        known = settings.load(Path(given) if given else None).environments
    except MigrateError:
        return []
    return [
        (name, "protected" if one.protected else "")
        for name, one in sorted(known.items())
        if name.startswith(incomplete)
    ]


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """Offer the published revisions, oldest first."""
    return [(one.id, one.title) for one in REVISIONS if one.id.startswith(incomplete)]
