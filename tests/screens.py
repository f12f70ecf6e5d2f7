"""Screens of every verb on the sample, as a terminal shows them: ``python tests/screens.py``.

tmux runs each verb and is asked for what it shows. It ends with 1 when a verb fails, or when a
screen of the README belongs to no verb; ``--readme`` writes the screens there.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

README = Path(__file__).resolve().parents[1] / "README.md"
_PROGRAM = Path(sys.executable).with_name("opssight-migrate")
_ENDED = re.compile(r"^ended with (\d+)$", re.MULTILINE)
_BLOCK = re.compile(r"<details><summary><code>.*</details>\n", re.DOTALL)
_PATIENCE_S = 300.0
_PLACE = Path("/tmp/opssight")  # is made, and goes again

# In this order on one database; what is None is done, and not shown: the README begins with it.
SCREENS: tuple[tuple[str | None, str], ...] = (
    ("status", "status"),
    (None, "migrate --yes"),
    ("doctor", "doctor"),
    ("verify", "verify"),
    ("history", "history"),
    ("rollback", "rollback --to-revision d8b40ecdc203 --dry-run"),
    ("cleanup", "cleanup --shims --confirm old-release-is-gone --dry-run"),
    ("backup create", "backup create"),
    ("backup list", "backup list"),
    ("backup verify", "backup verify"),
    ("check", "check"),
    ("explain OM402", "explain OM402"),
    ("init", "init"),
)


def shown(words: str, place: Path, columns: int) -> tuple[str, int]:
    """Run a verb in a terminal of its own; return what that shows, and the exit code."""
    tmux = ("tmux", "-L", f"screens-{uuid4().hex[:8]}", "-f", "/dev/null")
    line = f"{shlex.quote(str(_PROGRAM))} {words}; echo ended with $?; sleep 600"
    size = ("-x", str(columns), "-y", "400")
    env = os.environ | {
        "OPSSIGHT_DATA_DIR": str(place / "data"),
        "OPSSIGHT_LOG_DIR": "log",
        "LC_ALL": "C.UTF-8",
    }
    subprocess.run([*tmux, "new-session", "-d", *size, line], cwd=place, env=env, check=True)
    try:
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            pane = subprocess.run(
                [*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
            ).stdout
            if found := _ENDED.search(pane):
                return pane[: found.start()].rstrip(), int(found[1])
            time.sleep(0.5)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
    raise TimeoutError(f"{words} did not end within {_PATIENCE_S:g} s")


def block(title: str, words: str, screen: str) -> str:
    """Return a screen as the README has it."""
    lines = [f"$ opssight-migrate {words}", *screen.splitlines()]
    text = "\n".join(f"    {line}".rstrip() for line in lines)
    return f"<details><summary><code>{title}</code></summary>\n\n{text}\n\n</details>\n"


def main() -> int:
    """Show every screen, or write them into the README."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--columns", type=int, default=160)
    asked.add_argument("--readme", action="store_true", help="write the screens into the README")
    options = asked.parse_args()
    blocks: list[str] = []
    failed: list[str] = []
    _PLACE.mkdir(mode=0o755)  # as root the server is an unprivileged user's
    try:
        for title, words in SCREENS:
            screen, code = shown(words, _PLACE, options.columns)
            failed += [words] if code else []
            if title is not None:
                blocks.append(block(title, words, screen.replace(sys.prefix, "~/.venv")))
    finally:
        shutil.rmtree(_PLACE)
    text = "\n".join(blocks)
    if options.readme:
        README.write_text(_BLOCK.sub(lambda _: text, README.read_text("utf-8"), count=1), "utf-8")
    else:
        print(text)  # noqa: T201
    known = {title for title, _ in SCREENS}
    strange = set(re.findall(r"<summary><code>(.*?)</code>", README.read_text("utf-8"))) - known
    print(*(f"failed: {words}" for words in failed), sep="\n", file=sys.stderr)  # noqa: T201
    return 1 if failed or strange else 0


if __name__ == "__main__":
    sys.exit(main())
