"""What the shell offers after Tab, found without connecting to anything."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import typer

from opssight_migrate.model.errors import MigrateError
from opssight_migrate.opssight.revisions import REVISIONS

_LOGS_READ = 50
_RUN_STARTED = re.compile(r'"run_id": ?"(m[0-9a-f]{10})"')


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


def parts(incomplete: str) -> list[tuple[str, str]]:
    """Offer what ``check`` can look at."""
    known = {"configuration": "opssight.toml", "chain": "the revisions", "hazards": "their SQL"}
    return [(name, what) for name, what in known.items() if name.startswith(incomplete)]


def codes(incomplete: str) -> list[tuple[str, str]]:
    """Offer what ``explain`` explains."""
    from opssight_migrate.commands import explain

    wanted = incomplete.lower()
    return [(c, what) for c, what in explain.codes().items() if c.lower().startswith(wanted)]


def backups(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the backups on the shelf of the environment that was named, newest first."""
    from opssight_migrate import settings
    from opssight_migrate.commands import backup

    parent: Any = ctx.params
    try:
        given = parent.get("config")
        profile = settings.load(Path(given) if given else None).profile(parent.get("environment"))
    except MigrateError:
        return []
    return [one for one in backup.completions(profile) if one[0].startswith(incomplete)]


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """Offer the published revisions, oldest first."""
    return [(one.id, one.title) for one in REVISIONS if one.id.startswith(incomplete)]


def runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the migrations that the log files of this machine tell of, newest first."""
    from opssight_migrate.render.logfile import default_log_dir

    given: Any = ctx.params.get("log_dir") or os.environ.get("OPSSIGHT_LOG_DIR")
    folder = Path(given) if given else default_log_dir()
    found: list[tuple[str, str]] = []
    try:
        for log in sorted(folder.glob("migration_*.jsonl"), reverse=True)[:_LOGS_READ]:
            with log.open(encoding="utf-8") as lines:
                started = next(filter(None, map(_RUN_STARTED.search, lines)), None)
            if started is not None and started[1].startswith(incomplete):
                found.append((started[1], log.stem))
    except (OSError, ValueError):
        return found
    return found


def categories(incomplete: str) -> list[str]:
    """Offer the categories of checks."""
    from opssight_migrate.checks.base import CATEGORIES

    return [name for name in ("all", *CATEGORIES) if name.startswith(incomplete)]


def checks(incomplete: str) -> list[tuple[str, str]]:
    """Offer the checks of ``verify``."""
    from importlib.util import find_spec

    spec = find_spec("opssight_migrate.checks")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = (file.stem for folder in folders for file in Path(folder).glob("*.py"))
    ids = sorted(n.replace("_", "-") for n in names if n not in ("__init__", "base"))
    return [(name, "") for name in ids if name.startswith(incomplete)]
