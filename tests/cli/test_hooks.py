"""Hooks from real processes: a webhook on loopback, commands, and that they change no outcome."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.cli.test_usage import run

from opssight_migrate.model.errors import ExitCode
from opssight_migrate.model.schema import schema_text

# Nobody listens there: a verb that fails at once, and has its hooks told.
NOWHERE = "postgresql://a@127.0.0.1:1/none"
SECRET = "planted-by-webhook"


class Listener(HTTPServer):
    """Keeps what is posted to it; answers ``answer``, after ``delay_s``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = 204
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        """Its address, with a token in it as chat services have."""
        return f"http://127.0.0.1:{self.server_port}/hook?token={SECRET}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, dict(self.headers.items()), body))
        time.sleep(self.server.delay_s)
        self.send_response(self.server.answer)
        if self.server.answer == 307:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A real HTTP server on loopback."""
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory above which no configuration is looked for."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def configure(place: Path, *hooks: str, of: str = "hooks") -> None:
    (place / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n'
        f'[environments.test]\nurl = "{NOWHERE}"\n[{of}]\n' + "\n".join(hooks)
    )


def everything_under(place: Path) -> str:
    logs = (one for one in place.rglob("*") if one.suffix in (".log", ".jsonl", ".json"))
    return "".join(one.read_text("utf-8") for one in logs)


def test_a_webhook_gets_the_signed_document_and_its_address_is_never_told(
    place: Path, listener: Listener
) -> None:
    configure(place, f'webhook = "{listener.url}"', 'webhook_secret = "shared"')
    done = run("migrate", "--yes", "-v", "-o", "json", cwd=place)

    assert done.returncode == ExitCode.CONNECT
    ((path, headers, body),) = listener.posted
    assert path.endswith(SECRET)
    document = json.loads(body)
    jsonschema.validate(document, json.loads(schema_text()))
    assert (document["exit_code"], document["environment"]["name"]) == (5, "test")
    assert document == json.loads(done.stdout)
    signature = hmac.new(b"shared", body, hashlib.sha256).hexdigest()
    assert headers["X-Opssight-Signature-256"] == f"sha256={signature}"
    assert headers["Content-Type"] == "application/json"
    assert "shared" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr + everything_under(place)


@pytest.mark.parametrize(
    ("answer", "delay_s", "said"),
    [
        (500, 0.0, "webhook: the server answered 500"),
        (307, 0.0, "webhook: the server answered 307"),
        (204, 3.0, "webhook: it was given up after 1 s"),
        (None, 0.0, "webhook: nobody took it: Connection refused"),
    ],
)
def test_a_webhook_that_fails_is_said_and_changes_nothing(
    place: Path, listener: Listener, answer: int | None, delay_s: float, said: str
) -> None:
    url = listener.url if answer else f"http://127.0.0.1:1/{SECRET}"
    listener.answer, listener.delay_s = answer or 204, delay_s
    configure(place, f'webhook = "{url}"', 'timeout = "1s"')
    done = run("migrate", "--yes", "-o", "json", cwd=place)

    assert done.returncode == ExitCode.CONNECT
    assert f"warning: {said}\n" in done.stderr
    told = json.loads(done.stdout)
    assert (told["exit_code"], told["diagnostics"][-1]["message"]) == (5, said)
    assert len(listener.posted) == (1 if answer else 0)  # a redirect is not followed
    assert SECRET not in done.stdout + done.stderr + everything_under(place)


def test_a_command_has_the_document_on_stdin_and_the_end_in_variables(place: Path) -> None:
    script = place / "hook"
    script.write_text("#!/bin/sh\ncat > got.json; env | grep ^OPSSIGHT_HOOK_ | sort > got.env\n")
    script.chmod(0o755)
    configure(place, f'on_failure = "{script}"', 'on_success = "touch never"')
    done = run("migrate", "--yes", cwd=place)

    assert done.returncode == ExitCode.CONNECT
    assert json.loads((place / "got.json").read_text())["exit_code"] == 5
    assert (place / "got.env").read_text().splitlines() == [
        "OPSSIGHT_HOOK_COMMAND=migrate",
        "OPSSIGHT_HOOK_ENVIRONMENT=test",
        "OPSSIGHT_HOOK_EXIT_CODE=5",
        "OPSSIGHT_HOOK_RUN_ID=",
        "OPSSIGHT_HOOK_STATUS=failed",
    ]
    assert not (place / "never").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo to stdout; echo the pager is out >&2; exit 3'", "it ended with 3: the pager"),
        ("/no/such/program", "it cannot be started: No such file or directory"),
        ("sleep 30", "it was given up after 1 s"),
        ("sh -c 'echo postgresql://u:hunter2@h/d >&2; exit 1'", "it ended with 1: postgresql://u:"),
    ],
)
def test_a_command_that_fails_is_said_and_changes_nothing(
    place: Path, command: str, said: str
) -> None:
    configure(place, f'on_failure = "{command}"', 'timeout = "1s"', of="environments.test.hooks")
    began = time.monotonic()
    done = run("migrate", "--yes", "-q", cwd=place)

    assert time.monotonic() - began < 20
    assert done.returncode == ExitCode.CONNECT
    assert f"warning: on_failure: {said}" in done.stderr
    assert done.stdout == ""
    assert "hunter2" not in done.stderr + everything_under(place)


def test_a_dry_run_and_a_look_tell_nobody(place: Path) -> None:
    configure(place, 'on_failure = "touch told"', 'on_success = "touch told"')
    for words in (["migrate", "-n"], ["status"], ["history"]):
        run(*words, cwd=place)
    assert not (place / "told").exists()


@pytest.mark.parametrize(
    "line",
    ['webhook = "ftp://x"', 'on_success = "echo \'open"', 'webhok = "http://x"', 'timeout = "0s"'],
)
def test_a_hook_that_cannot_be_is_refused_before_anything(place: Path, line: str) -> None:
    configure(place, line)
    done = run("migrate", "--yes", cwd=place)
    assert done.returncode == ExitCode.CONFIG
    assert "opssight.toml:6" in done.stderr
