"""A plan kept in a file between its review and its run, and the look whether it still holds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from opssight_migrate.model.errors import StalePlanError, UsageError
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.golden import Catalogue

_VERSION = 1
# Rows come and go on a live database: a plan holds while a step's rows stay within these.
_FACTOR, _SLACK_ROWS = 2, 1_000


def write(path: Path, plan: Plan, catalogue: Catalogue) -> None:
    """Write what was planned; only the owner may read it.

    Raises: UsageError, if the file cannot be written.
    """
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise UsageError(
            f"--plan-out: cannot write {path}: {error.strerror}", hint="name another file"
        ) from None
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump(_kept(plan, catalogue), file, indent=2)
        file.write("\n")


def refuse_if_moved(path: Path, plan: Plan, catalogue: Catalogue, again: str) -> None:
    """Return if the plan of ``path`` is still the plan; ``again`` is how to make a new one.

    Raises: StalePlanError naming what moved; UsageError, if the file is no plan.
    """
    saved = _read(path)
    now = _kept(plan, catalogue)
    moved = [
        sentence
        for key, sentence in (
            ("environment", "it was made for another environment"),
            ("database", "it was made for another database"),
            ("revision_from", "the database is at another revision"),
            ("revision_to", "it goes to another revision"),
            ("steps", "there are other steps to do"),
            ("catalogue", "the catalogue has changed"),
        )
        if saved.get(key) != now[key]
    ]
    for step, rows in now["rows"].items():
        then = saved.get("rows", {}).get(step)
        if not _is_in_band(then, rows):
            moved.append(f"{step} has {rows:,} rows to do, and had {then or 0:,}")
    if moved:
        raise StalePlanError(
            f"the plan {saved.get('digest')} does not hold any more: {'; '.join(moved)}",
            where=str(path),
            hint=again,
        )


def _is_in_band(then: int | None, now: int) -> bool:
    if then is None:
        return False
    return then / _FACTOR - _SLACK_ROWS <= now <= then * _FACTOR + _SLACK_ROWS


def _kept(plan: Plan, catalogue: Catalogue) -> dict[str, Any]:
    body = json.dumps(catalogue, sort_keys=True, default=str)
    return {
        "version": _VERSION,
        "digest": plan.digest,
        "environment": plan.environment,
        "database": {
            "name": plan.database.name,
            "system_identifier": plan.database.system_identifier,
            "oid": plan.database.database_oid,
        },
        "revision_from": plan.revision_from,
        "revision_to": plan.revision_to,
        "steps": [step.step_id for step in plan.steps],
        "rows": {s.step_id: s.estimate.rows for s in plan.steps if s.estimate.rows is not None},
        "catalogue": hashlib.sha256(body.encode()).hexdigest(),
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"--plan: cannot read {path}: {why}", hint="make one with migrate -n --plan-out FILE"
        ) from None
    if not isinstance(saved, dict) or saved.get("version") != _VERSION:
        raise UsageError(
            f"--plan: {path} is no plan of this version",
            hint="make one with migrate -n --plan-out FILE",
        )
    return saved
