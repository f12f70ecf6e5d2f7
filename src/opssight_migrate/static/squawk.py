"""squawk, the linter for PostgreSQL migrations, over literal SQL; an extra, run as a program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from opssight_migrate.static.found import Found, unread
from opssight_migrate.static.walk import Text

# Rules of ours say these with their own words; the others are a matter of taste.
_LEFT_OUT = (
    "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field",
    "adding-required-field", "adding-serial-primary-key-field",
    "ban-concurrent-index-creation-in-transaction", "ban-drop-column", "ban-drop-table",
    "changing-column-type", "constraint-missing-not-valid", "disallowed-unique-constraint",
    "renaming-column", "renaming-table", "require-concurrent-index-creation",
    "require-concurrent-index-deletion", "require-lock-timeout", "require-statement-timeout",
    "syntax-error",
)  # fmt: skip
_OF_TASTE = "prefer-"


def program() -> str | None:
    """Return the path of squawk: beside this Python, else on PATH; None without the extra."""
    beside = Path(sys.executable).with_name("squawk")
    return str(beside) if beside.is_file() else shutil.which("squawk")


def findings(squawk: str, path: Path, texts: Sequence[Text]) -> list[Found]:
    """Return what squawk says of the literal SQL of one revision, mapped to the file's lines."""
    if not texts:
        return []
    places: list[int] = []
    parts: list[str] = []
    for text in texts:
        sql = text.sql.rstrip().rstrip(";") + "\n;"
        parts.append(sql)
        places += [text.line + n * text.is_plain for n in range(sql.count("\n") + 1)]
    done = subprocess.run(
        [
            squawk,
            "--reporter",
            "json",
            "--config",
            "/dev/null",
            "--stdin-filepath",
            f"{path.stem}.sql",
        ],
        input="\n".join(parts).encode("utf-8"),
        capture_output=True,
        check=False,
    )
    try:
        said = json.loads(done.stdout)
    except ValueError:  # it refused its options, or is none that we know
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return [unread(f"squawk failed: {why[-1] if why else 'it said nothing'}", path, 1)]
    return [
        Found(
            rule=f"squawk/{one['rule_name']}",
            message=one["message"],
            path=path,
            line=places[min(int(one["line"]), len(places) - 1)],
            hint=one.get("help"),
        )
        for one in said
        if one["rule_name"] not in _LEFT_OUT and not one["rule_name"].startswith(_OF_TASTE)
    ]
