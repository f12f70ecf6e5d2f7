"""What the shell offers after Tab, found without connecting to anything."""

from __future__ import annotations

import os
import re
from pathlib import Path

import typer

from opssight_migrate.model.categories import CATEGORIES
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.settings import file

_LOGS_READ = 50
_BACKUP = re.compile(r"_\d{8}T\d{12}Z\.dump(\.zst)?(\.age)?$")
_RUN_STARTED = re.compile(r'"run_id": ?"(m[0-9a-f]{10})"')


def environments(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the environments of the configuration; none while it cannot be read."""
    known = file.glance(_text(ctx, "config"), os.environ).get("environments", {})
    return [
        (name, "protected" if isinstance(one, dict) and one.get("protected") else "")
        for name, one in sorted(known.items())
        if name.startswith(incomplete)
    ]


def parts(incomplete: str) -> list[tuple[str, str]]:
    """Offer what ``check`` can look at."""
    known = {"configuration": "opssight.toml", "chain": "the revisions", "hazards": "their SQL"}
    return [(name, what) for name, what in known.items() if name.startswith(incomplete)]


def codes(incomplete: str) -> list[tuple[str, str]]:
    """Offer what ``explain`` explains."""
    from opssight_migrate.model.explanations import meanings
    from opssight_migrate.static.rules import RULES

    known = meanings() | {rule.id: rule.title for rule in RULES.values()}
    wanted = incomplete.lower()
    return [(code, what) for code, what in known.items() if code.lower().startswith(wanted)]


def backups(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the backups on the shelf of the environment that was named, newest first."""
    from opssight_migrate.settings.places import shelf_dir

    values = file.glance(_text(ctx, "config"), os.environ)
    name, own = file.environment_of(values, _text(ctx, "environment"))
    chosen = own.get("backup_dir") or values.get("defaults", {}).get("backup_dir")
    shelf = shelf_dir(str(chosen) if chosen else None)
    found = (path for path in shelf.glob(f"backup_{name}_*Z.dump*") if _BACKUP.search(path.name))
    newest = sorted(found, key=lambda path: path.name, reverse=True)
    return [(str(path), "") for path in newest if str(path).startswith(incomplete)]


def revisions(incomplete: str) -> list[tuple[str, str]]:
    """Offer the published revisions, oldest first."""
    return [(one.id, one.title) for one in REVISIONS if one.id.startswith(incomplete)]


def runs(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the migrations that the log files of this machine tell of, newest first."""
    from opssight_migrate.settings.places import default_log_dir

    given = _text(ctx, "log_dir") or os.environ.get("OPSSIGHT_LOG_DIR")
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
    return [name for name in ("all", *CATEGORIES) if name.startswith(incomplete)]


def checks(incomplete: str) -> list[tuple[str, str]]:
    """Offer the checks of ``verify``."""
    from importlib.util import find_spec

    spec = find_spec("opssight_migrate.checks")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    names = (file.stem for folder in folders for file in Path(folder).glob("*.py"))
    ids = sorted(n.replace("_", "-") for n in names if n not in ("__init__", "base"))
    return [(name, "") for name in ids if name.startswith(incomplete)]


def _text(ctx: typer.Context, name: str) -> str | None:
    """Return what was typed for an option, if it was."""
    given = ctx.params.get(name)
    return str(given) if given else None
