"""What is understood, what is refused, and what --help may cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from opssight_migrate.model.errors import ExitCode

SOURCE = Path(__file__).parents[2] / "src"


def run(
    *args: str, cwd: Path, code: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the program, or ``code`` in its stead, as a process with a bare environment."""
    words = ["-c", code] if code else ["-m", "opssight_migrate"]
    return subprocess.run(
        [sys.executable, *words, *args],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(cwd)} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_completion_offers_what_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "opssight.toml").write_text(
        "[environments.staging]\nservice = 's'\n[environments.stage-two]\nservice = 't'\n"
    )

    def offered(words: str) -> str:
        done = run(
            cwd=tmp_path,
            _OPSSIGHT_MIGRATE_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split(" ")) - 1),
        )
        return done.stdout

    assert "staging" in offered("opssight-migrate migrate -e sta")
    assert "stage-two" in offered("opssight-migrate migrate -e sta")
    assert "local" not in offered("opssight-migrate migrate -e sta")
    assert "80bd6a3c3fa1" in offered("opssight-migrate migrate --to 80")
    (tmp_path / "opssight.toml").write_text("broken")
    assert offered("opssight-migrate migrate -e sta") == "\n"


@pytest.mark.parametrize("command", ["migrate", "status", "verify"])
def test_every_commands_help_opens_with_a_sentence_and_an_example(
    tmp_path: Path, command: str
) -> None:
    text = run(command, "--help", cwd=tmp_path).stdout
    assert "Example:\n    opssight-migrate " + command in text
    for variable in ("CONFIG", "ENVIRONMENT", "LOG_DIR", "OUTPUT", "PROGRESS"):
        assert f"OPSSIGHT_{variable}" in text
    for option in ("--color", "--no-input", "-v, --verbose", "-q, --quiet", "--output-file"):
        assert option in text
    assert not any(0x2500 <= ord(character) <= 0x259F for character in text)


def test_the_version_is_one_line(tmp_path: Path) -> None:
    assert run("-V", cwd=tmp_path).stdout == "opssight-migrate 0.1.0\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["migrate", "--dry-rum"], "no such option: --dry-rum; did you mean --dry-run?"),
        (["migrat"], "Did you mean 'migrate'?"),
        (["migrate", "-o", "xml"], "'xml' is not one of 'text', 'json', 'jsonl'"),
        (["migrate", "--to", "80bd6a3c3fa"], 'did you mean "80bd6a3c3fa1"?'),
        (["migrate", "--to", "80bd"], 'no revision is called "80bd"; there are: d8b40ecdc203'),
        (["migrate", "--to", "head"], 'no revision is called "head"'),
        (["migrate", "--allow", "OM30"], "--allow: no blocker is called"),
        (["migrate", "extra"], "extra"),
        (["migrate", "-e"], "requires an argument"),
        (["status", "--dry-run"], "no such option: --dry-run"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_suggestion(
    tmp_path: Path, args: list[str], message: str
) -> None:
    done = run(*args, cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error[OM101]: ")
    assert message in lines[0]
    assert lines[1] == "state: nothing was changed"


def test_wrong_usage_names_the_command_below_a_command(tmp_path: Path) -> None:
    done = run("backup", "create", "-o", "json", "--nonsense", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["command"] == "backup create"
    assert document["diagnostics"][0]["hint"] == "opssight-migrate backup create --help"


def test_an_option_before_the_command_is_shown_its_place(tmp_path: Path) -> None:
    done = run("-e", "staging", "migrate", "-n", cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "help:  opssight-migrate migrate -e staging -n\n" in done.stderr


@pytest.mark.parametrize(
    ("args", "env"),
    [
        (["migrate", "-o", "json", "--nonsense"], {}),
        (["migrate", "--output=json", "--to", "x"], {}),
        (["migrate", "-ojson", "--to", "x"], {}),
        (["--nonsense"], {"OPSSIGHT_OUTPUT": "json"}),
    ],
)
def test_wrong_usage_is_a_document_too(
    tmp_path: Path, args: list[str], env: dict[str, str]
) -> None:
    done = run(*args, cwd=tmp_path, **env)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == ExitCode.USAGE
    assert document["diagnostics"][0]["code"] == "OM101"


def test_the_document_of_wrong_usage_goes_to_the_output_file(tmp_path: Path) -> None:
    done = run("migrate", "-o", "json", "--output-file", "o.json", "--nonsense", cwd=tmp_path)
    assert done.stdout == ""
    assert json.loads((tmp_path / "o.json").read_text())["exit_code"] == ExitCode.USAGE


def test_without_a_command_the_help_is_shown_as_wrong_usage(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: opssight-migrate ")


def test_an_argument_that_is_no_utf_8_ends_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "opssight_migrate",
            "migrate",
            "-o",
            "json",
            "--to",
            b"\xff\x1b[31m",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert b"\x1b" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["exit_code"] == ExitCode.USAGE
