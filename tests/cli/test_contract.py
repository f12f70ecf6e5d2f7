"""The contract from real processes: bytes off a terminal, secrets, help and completion."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt

from opssight_migrate.cli.app import app
from opssight_migrate.opssight.revisions import START

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

VERBS = sorted(one.callback.__name__ for one in app.registered_commands if one.callback)
TWO_SCREENS = 2 * 40
SECRETS = ("planted-by-url", "planted-by-variable", "planted-by-command")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_off_a_terminal_each_line_stands_alone(place: Path, database_at: DatabaseAt) -> None:
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false\n'
        f'[environments.test]\nurl = "{database_at(START)}"\n'
    )
    for words in (["migrate", "--yes"], ["verify"], ["status"], ["history"], ["doctor"]):
        done = run(*words, "--color", "never", "--progress", "plain", cwd=place)
        assert done.returncode == 0, done.stderr
        for stream in (done.stdout.encode(), done.stderr.encode()):
            assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", stream)  # no cursor, no colour
            assert not any(0x2500 <= ord(one) <= 0x259F for one in stream.decode())  # no boxes
            assert stream == b"" or stream.endswith(b"\n")


def test_planted_secrets_appear_nowhere(place: Path, database_at: DatabaseAt) -> None:
    by_url, by_variable, by_command = SECRETS
    facts = conninfo_to_dict(database_at(START))
    where = f"host={facts['host']}&port={facts['port']}&user={facts['user']}"
    url = f"postgresql:///{facts['dbname']}?{where}&password={by_url}"
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false\n'
        f'[environments.test]\nurl = "{url}"\n'
        f'[environments.other]\nurl = "{url.replace("password=" + by_url, "a=b")}"\n'
        f'password_command = "printf {by_command}"\n'
    )
    said: list[str] = []
    for words in (
        ["migrate", "--yes", "-v", "-e", "test"],
        ["status", "-o", "json", "-e", "test"],
        ["history", "-o", "json", "-e", "test"],
        ["doctor", "-v", "-e", "test"],
        ["doctor", "-v", "-e", "other"],
        ["status", "-e", "other", "-o", "jsonl"],
    ):
        done = run(*words, cwd=place, PGPASSWORD=by_variable)
        said += [done.stdout, done.stderr]
    logs = [
        path.read_text("utf-8") for path in place.rglob("*") if path.suffix in (".log", ".jsonl")
    ]
    assert logs
    with psycopg.connect(**facts) as connection:  # type: ignore[arg-type]
        for table in ("runs", "steps", "audit_rows", "installation"):
            rows = connection.execute(f"SELECT * FROM opssight_migrate.{table}").fetchall()
            said.append(repr(rows))
    assert not [secret for secret in SECRETS for text in (*said, *logs) if secret in text]


@pytest.mark.parametrize("verb", VERBS)
def test_a_commands_help_fits_on_two_screens(place: Path, verb: str) -> None:
    lines = run(verb, "--help", cwd=place, COLUMNS="80").stdout.splitlines()

    assert len(lines) <= TWO_SCREENS
    assert max(map(len, lines)) <= 80
    sentence = " ".join(line.strip() for line in lines[2 : lines.index("  Example:")])
    assert sentence.strip().endswith(".")
    assert lines[lines.index("  Example:") + 1].startswith(f"    opssight-migrate {verb}")


COMPLETIONS = {
    "environments": ("opssight-migrate status -e sta", "staging"),
    "revisions": ("opssight-migrate migrate --to 80b", "80bd6a3c3fa1"),
    "checks": ("opssight-migrate verify --only roles-m", "roles-match-assignments"),
    "runs": ("opssight-migrate history m01", "m0123456789"),
    "codes": ("opssight-migrate explain OM40", "OM402"),
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
@pytest.mark.parametrize("what", COMPLETIONS)
def test_completion_offers_values_in_every_shell(place: Path, what: str, shell: str) -> None:
    (place / "opssight.toml").write_text('[environments.staging]\nservice = "s"\n')
    logs = place / "logs"
    logs.mkdir()
    (logs / "migration_staging_20261124T000000Z.jsonl").write_text(
        '{"event": "run_started", "time": "t", "run_id": "m0123456789"}\n'
    )
    words, offered = COMPLETIONS[what]
    done = run(
        cwd=place,
        _OPSSIGHT_MIGRATE_COMPLETE=f"complete_{shell}",
        OPSSIGHT_LOG_DIR=str(logs),
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
        _TYPER_COMPLETE_ARGS=words,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_WORD_TO_COMPLETE=words.split()[-1],
    )
    assert offered in done.stdout
