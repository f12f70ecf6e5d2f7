"""--help and completion beside a bare import of typer and rich, by the least processor time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
MOST = 1.5
TRIES = 8
TAB = "opssight-migrate status -e lo"
COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "bare": (["-c", "import typer, rich"], {}),
    "--help": (["-m", "opssight_migrate", "--help"], {}),
    "migrate --help": (["-m", "opssight_migrate", "migrate", "--help"], {}),
    **{
        f"Tab in {shell}": (
            ["-m", "opssight_migrate"],
            {
                "_OPSSIGHT_MIGRATE_COMPLETE": f"complete_{shell}",
                "COMP_WORDS": TAB,
                "COMP_CWORD": "3",
                "_TYPER_COMPLETE_ARGS": TAB,
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
                "_TYPER_COMPLETE_WORD_TO_COMPLETE": "lo",
            },
        )
        for shell in ("bash", "zsh", "fish", "powershell")
    },
}


def processor_s(words: list[str], env: dict[str, str], cwd: Path) -> float:
    """Return what one process took of the processor, its system calls included."""
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(cwd)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words], cwd=cwd, env=known | env, capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_completion_cost_no_more_than_half_of_what_typer_itself_costs(
    tmp_path: Path,
) -> None:
    least = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(TRIES):  # in turns, so that a busy machine is busy for all of them
        for name, (words, env) in COMMANDS.items():
            least[name] = min(least[name], processor_s(words, env, tmp_path))
    ratios = {name: took / least["bare"] for name, took in least.items()}
    assert max(ratios.values()) < MOST, ratios
