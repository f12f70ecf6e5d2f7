"""The contract from real processes: bytes off a terminal, secrets, help and completion."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt

from opssight_migrate.cli.verbs import VERBS
from opssight_migrate.opssight.revisions import START

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

COMMANDS = [*VERBS, "backup create", "backup list", "backup verify"]
TWO_SCREENS = 2 * 24
README = Path(__file__).parents[2] / "README.md"
BACKUP = "backup_staging_20261124T000000000000Z.dump.zst.age"
SECRETS = ("planted-by-url", "planted-by-variable", "planted-by-command", "planted-by-hook")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_off_a_terminal_each_line_stands_alone(place: Path, database_at: DatabaseAt) -> None:
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false\n'
        "[verify]\nrehearse = false\n"
        f'[environments.test]\nurl = "{database_at(START)}"\n'
    )
    for words in (["migrate", "--yes"], ["verify"], ["status"], ["history"], ["doctor"]):
        done = run(*words, "--color", "never", "--progress", "plain", cwd=place)
        assert done.returncode == 0, done.stderr
        for stream in (done.stdout.encode(), done.stderr.encode()):
            assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", stream)  # no cursor, no colour
            assert not any(0x2500 <= ord(one) <= 0x259F for one in stream.decode())  # no boxes
            assert stream == b"" or stream.endswith(b"\n")
    for words in (["verify"], ["status"], ["doctor"]):  # the same without UTF-8, and narrow
        done = run(*words, cwd=place, PYTHONIOENCODING="ascii", LC_ALL="C", COLUMNS="80")
        assert done.returncode == 0, done.stderr
        assert (done.stdout + done.stderr).isascii()
        wide = run(*words, cwd=place, PYTHONIOENCODING="ascii", LC_ALL="C", COLUMNS="160")
        assert len(wide.stdout.splitlines()) == len(done.stdout.splitlines())  # nothing is wrapped


def test_planted_secrets_appear_nowhere(place: Path, database_at: DatabaseAt) -> None:
    by_url, by_variable, by_command, by_hook = SECRETS
    facts = conninfo_to_dict(database_at(START))
    where = f"host={facts['host']}&port={facts['port']}&user={facts['user']}"
    url = f"postgresql:///{facts['dbname']}?{where}&password={by_url}"
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[old_release]\nrehearse = false\n'
        "[verify]\nrehearse = false\n"
        f'[environments.test]\nurl = "{url}"\n'
        f'[environments.other]\nurl = "{url.replace("password=" + by_url, "a=b")}"\n'
        'password_command = "sh password"\n'
        f'[hooks]\nwebhook = "http://127.0.0.1:1/{by_hook}"\nwebhook_secret = "{by_hook}"\n'
        f'on_success = "no-such-program {by_hook}"\n'
    )
    (place / "password").write_text(f"printf {by_command}\n")
    said: list[str] = []
    over = threading.Event()

    def look_at_the_process_list() -> None:
        while not over.wait(0.05):
            for one in psutil.process_iter(["cmdline"]):
                said.append(" ".join(one.info["cmdline"] or ()))

    watcher = threading.Thread(target=look_at_the_process_list)
    watcher.start()
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
    over.set()
    watcher.join()
    assert any("warning: webhook: nobody took it" in one for one in said)
    assert any("opssight_migrate migrate" in one for one in said)
    logs = [
        path.read_text("utf-8") for path in place.rglob("*") if path.suffix in (".log", ".jsonl")
    ]
    assert logs
    with psycopg.connect(**facts) as connection:  # type: ignore[arg-type]
        for table in ("runs", "steps", "audit_rows", "installation"):
            rows = connection.execute(f"SELECT * FROM opssight_migrate.{table}").fetchall()
            said.append(repr(rows))
    assert not [secret for secret in SECRETS for text in (*said, *logs) if secret in text]


@pytest.mark.parametrize("verb", ["", *COMMANDS])
def test_a_commands_help_fits_on_two_screens(place: Path, verb: str) -> None:
    lines = run(*verb.split(), "--help", cwd=place, COLUMNS="80").stdout.splitlines()

    assert len(lines) <= TWO_SCREENS
    assert max(map(len, lines)) <= 80
    sentence = " ".join(line.strip() for line in lines[2 : lines.index("  Example:")])
    assert re.fullmatch(r"[A-Z][^.]*(\.toml[^.]*)?\.", sentence.strip()), sentence
    assert lines[lines.index("  Example:") + 1].startswith(f"    opssight-migrate {verb}")


COMPLETIONS = {
    "verbs": ("opssight-migrate rol", "rollback"),
    "options": ("opssight-migrate migrate --dry", "--dry-run"),
    "environments": ("opssight-migrate status -e sta", "staging"),
    "revisions": ("opssight-migrate migrate --to 80b", "80bd6a3c3fa1"),
    "checks": ("opssight-migrate verify --only roles-m", "roles-match-assignments"),
    "categories": ("opssight-migrate verify -t ten", "tenancy"),
    "runs": ("opssight-migrate history m01", "m0123456789"),
    "codes": ("opssight-migrate explain OM40", "OM402"),
    "backups": ("opssight-migrate backup verify -e staging /", BACKUP),
    "backup files": ("opssight-migrate rollback -e staging --backup-file /", BACKUP),
}
# What a shell must not wait for at each Tab. rich itself is nothing, its console is.
SLOW = ("alembic", "psycopg", "pydantic", "rich.console", "sqlalchemy")
LISTING = f"""
import atexit, sys
atexit.register(lambda: print("IMPORTED", [one for one in {SLOW} if one in sys.modules]))
from opssight_migrate.__main__ import main
main()
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
@pytest.mark.parametrize("what", COMPLETIONS)
def test_completion_offers_values_at_once_in_every_shell(
    place: Path, what: str, shell: str
) -> None:
    shelf = place / "shelf"
    (place / "opssight.toml").write_text(
        f'[environments.staging]\nservice = "s"\nbackup_dir = "{shelf}"\n'
    )
    logs = place / "logs"
    for folder in (logs, shelf):
        folder.mkdir()
    for name in (BACKUP, BACKUP.replace("staging", "other"), ".backup_staging_x.dump.partial"):
        (shelf / name).touch()
    (logs / "migration_staging_20261124T000000Z.jsonl").write_text(
        '{"event": "run_started", "time": "t", "run_id": "m0123456789"}\n'
    )
    words, offered = COMPLETIONS[what]
    done = run(
        cwd=place,
        code=LISTING,
        _OPSSIGHT_MIGRATE_COMPLETE=f"complete_{shell}",
        OPSSIGHT_LOG_DIR=str(logs),
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
        _TYPER_COMPLETE_ARGS=words,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_WORD_TO_COMPLETE=words.split()[-1],
    )
    assert offered in done.stdout
    assert "_other_" not in done.stdout
    assert done.stdout.endswith("IMPORTED []\n")


@pytest.mark.parametrize("words", ["--help", "-V", *(f"{verb} --help" for verb in COMMANDS)])
def test_help_and_version_import_nothing_slow(place: Path, words: str) -> None:
    done = run(*words.split(), cwd=place, code=LISTING)
    assert done.returncode == 0
    assert done.stdout.endswith("IMPORTED []\n")


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_called_as_its_module_and_stands_in_the_list(place: Path, name: str) -> None:
    assert f"\n  {name} " in run("--help", cwd=place).stdout
    assert f"| `{name}" in README.read_text("utf-8")
