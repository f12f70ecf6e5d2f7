"""What is asked of the running platform, against a real HTTP server on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.cli.test_usage import run
from tests.conftest import DatabaseAt

from opssight_migrate import web
from opssight_migrate.checks.base import CheckContext
from opssight_migrate.checks.platform_answers import PlatformAnswers
from opssight_migrate.engine import checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings.platform import HttpRequest
from opssight_migrate.web import requests_of

ON_EVERY_SERVER = False
SELF_SIGNED = Path(__file__).parents[1] / "data" / "self_signed.pem"
SECRET = "tok-acme-7f3a"
Ask = Callable[..., list[str]]


class Platform(BaseHTTPRequestHandler):
    """Health for everybody, lists for whoever has a token, and a redirect to elsewhere."""

    seen: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        """Answer as OpsSight does."""
        token = self.headers["Authorization"]
        self.seen.append((self.path, token))
        status = 200
        if self.path.startswith("/moved"):
            status = 302
        elif self.path.startswith("/api") and token != f"Bearer {SECRET}":
            status = 401
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def platform() -> Iterator[str]:
    """The URL of a running platform."""
    Platform.seen = []
    with serving() as url:
        yield url


class serving:  # noqa: N801 (read as "with serving()")
    """A server on loopback, over TLS with a certificate that nobody vouches for where ``tls``."""

    def __init__(self, *, tls: bool = False) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(SELF_SIGNED)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> str:
        self.thread.start()
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def ask(at_start: Session, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask by a configuration, and return what is said."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOKEN_ACME", SECRET)
    monkeypatch.setenv("TOKEN_BAD", f"{SECRET}\nX-Other: 1")

    def by(platform_url: str | None, **configured: dict[str, object]) -> list[str]:
        return [f.message for f in outcome(at_start, platform_url, **configured).findings]

    return by


def outcome(session: Session, platform_url: str | None, **configured: dict[str, object]) -> Outcome:
    requests = {name: HttpRequest.model_validate(one) for name, one in configured.items()}
    ctx = CheckContext(session=session, requests=requests_of(requests, platform_url))
    (found,) = checker.run_checks([PlatformAnswers()], ctx)
    return found


def test_a_platform_that_answers_as_it_should_has_no_finding(platform: str, ask: Ask) -> None:
    said = ask(
        platform,
        health={"url": "/health"},
        refused={"url": "/api/projects", "status": 401},
        acme={"url": "/api/projects", "token_env": "TOKEN_ACME"},
        whole={"url": f"{platform}/health"},
    )

    assert said == []
    assert [path for path, _ in Platform.seen] == ["/health", *["/api/projects"] * 2, "/health"]
    assert [token for _, token in Platform.seen] == [None, None, f"Bearer {SECRET}", None]


def test_another_status_is_a_finding_and_a_redirect_is_not_followed(
    platform: str, ask: Ask
) -> None:
    said = ask(
        platform,
        open={"url": "/health", "status": 401},
        moved={"url": "/moved?key=secret", "token_env": "TOKEN_ACME"},
    )

    assert said == [
        "open: the platform answers 200, and not 401",
        "moved: the platform answers 302, and not 200",
    ]
    assert [path for path, _ in Platform.seen] == ["/health", "/moved?key=secret"]


def test_no_secret_is_shown_whatever_goes_wrong(platform: str, at_start: Session, ask: Ask) -> None:
    asked: dict[str, dict[str, object]] = {
        "moved": {"url": "/moved?key=secret", "token_env": "TOKEN_ACME"},
        "bad": {"url": "/health", "token_env": "TOKEN_BAD"},
        "unset": {"url": "/health", "token_env": "TOKEN_UNSET"},
    }
    told = str(outcome(at_start, platform, **asked).findings)

    assert SECRET not in told
    assert "key=secret" not in told
    assert "what the variable TOKEN_BAD holds is no token" in told
    assert "the variable TOKEN_UNSET is not set" in told


def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    Platform.seen = []
    with serving(tls=True) as url:
        (said,) = ask(url, health={"url": "/health", "token_env": "TOKEN_ACME"})
        assert "self-signed certificate" in said or "self signed certificate" in said
        assert Platform.seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(SELF_SIGNED))
        assert ask(url, health={"url": "/health", "token_env": "TOKEN_ACME"}) == []


def test_who_does_not_answer_is_waited_for_a_while_only(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert ask(where, health={"url": "/health"}) == ["health: no answer within 0 s"]
    assert ask(where, health={"url": "/health"}) == ["health: cannot connect: Connection refused"]


def test_without_configuration_or_platform_it_says_so(at_start: Session) -> None:
    assert outcome(at_start, None).skipped is not None
    nowhere = outcome(at_start, None, health={"url": "/health"})
    assert nowhere.skipped == "not configured: [verify.http] names nothing to ask here"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://platform.example/"},
        {"url": "https://user:word@platform.example/"},
        {"url": "https://platform.example/a b"},
        {"url": "http://platform.example/", "token_env": "TOKEN"},
        {"url": "/health", "token": "tok"},
        {"url": "/health", "status": 42},
    ],
)
def test_a_request_that_is_no_get_or_holds_a_secret_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HttpRequest.model_validate(wrong)


def test_a_token_does_not_go_where_others_can_read_it(ask: Ask) -> None:
    said = ask("http://platform.example", acme={"url": "/api", "token_env": "TOKEN_ACME"})

    assert said == ["acme: a token goes over https alone"]


def test_verify_asks_what_opssight_toml_names_and_shows_no_token_anywhere(
    platform: str, database_at: DatabaseAt, tmp_path: Path
) -> None:
    (tmp_path / "opssight.toml").write_text(
        '[project]\ndefault_environment = "test"\n[verify.http]\nhealth = { url = "/health" }\n'
        'acme = { url = "/api/projects", token_env = "TOKEN_ACME" }\n'
        'moved = { url = "/moved?key=secret", token_env = "TOKEN_ACME", status = 200 }\n'
        f'[environments.test]\nurl = "{database_at(START, filled=False)}"\n'
        f'platform_url = "{platform}"\n'
    )
    log_dir = str(tmp_path / "log")
    words = ("verify", "-t", "functional", "--report", "a.html", "--junit", "a.xml")
    done = run(*words, "--log-dir", log_dir, "-v", cwd=tmp_path, TOKEN_ACME=SECRET)

    assert done.returncode == 1
    assert "moved: the platform answers 302, and not 200" in done.stdout
    assert f"Bearer {SECRET}" in [token for _, token in Platform.seen]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name.partition("_test_")[0] for path in written} >= {"migration", "a.html"}
    for text in (done.stdout, done.stderr, *(path.read_text() for path in written)):
        assert SECRET not in text
        assert "key=secret" not in text.replace('?key=secret", token_env', "")
