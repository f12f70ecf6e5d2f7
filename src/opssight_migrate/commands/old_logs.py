"""The log files of one environment, told apart from those of every other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from opssight_migrate.engine.floor import Candidate

_VERBS = ("migration", "migration_test", "rollback", "cleanup")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_TIME = re.compile(r"(?P<start>.+)_(?P<time>\d{8}T\d{6}Z)(?:-\d+)?")


def candidates(log_dir: Path, environment: str) -> tuple[Candidate, ...]:
    """Return the logs of an environment; each stands for its text and its JSON lines.

    A name that could be another environment's as well ("migration_test_x": a test of x, or a
    migration of test_x) is nobody's.
    """
    found: list[Candidate] = []
    for path in sorted(log_dir.glob("*.log")) if log_dir.is_dir() else []:
        parsed = _TIME.fullmatch(path.stem)
        if parsed is None or path.is_symlink():
            continue
        readings = [
            (verb, parsed["start"].removeprefix(f"{verb}_"))
            for verb in _VERBS
            if parsed["start"].startswith(f"{verb}_")
        ]
        if len(readings) != 1 or readings[0][1] != _NOT_IN_A_NAME.sub("_", environment)[:63]:
            continue
        at = datetime.strptime(parsed["time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        found.append(
            Candidate(name=str(path), environment=environment, shelf=readings[0][0], at=at)
        )
    return tuple(found)


def size_bytes(log: str) -> int:
    """Return the size of a log with its JSON lines."""
    return sum(path.stat().st_size for path in _files(log))


def remove(log: str) -> None:
    """Remove a log and its JSON lines; one that is gone already is no failure."""
    for path in _files(log):
        path.unlink(missing_ok=True)


def _files(log: str) -> list[Path]:
    text = Path(log)
    return [path for path in (text, text.with_suffix(".jsonl")) if path.is_file()]
