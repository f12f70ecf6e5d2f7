"""Whoever wants to hear how a verb ended: a JSON webhook, and a command with the document on stdin.

What becomes of a hook never changes how the verb ended; it is said, and no more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from opssight_migrate import __version__
from opssight_migrate.model.report import Report
from opssight_migrate.settings.tables import Hooks

Say = Callable[[str], None]

_SILENCE_S = 2.0


def call(hooks: Hooks, report: Report, say: Say) -> list[str]:
    """Call what is wanted for this end; return what went wrong, in sentences without a secret.

    ``say`` is told when one lets us wait for longer than two seconds.
    """
    body = report.to_json().encode()
    problems: list[str] = []
    for name, work in _wanted(hooks, report, body):
        problem = _within(hooks.timeout.total_seconds(), name, work, say)
        problems += [f"{name}: {problem}"] if problem else []
    return problems


def _wanted(hooks: Hooks, report: Report, body: bytes) -> Iterator[tuple[str, _Work]]:
    if hooks.webhook is not None:
        yield "webhook", _Post(hooks, body)
    name = "on_success" if report.exit_code == 0 else "on_failure"
    command = hooks.on_success if report.exit_code == 0 else hooks.on_failure
    if command is not None:
        yield name, _Command(command.get_secret_value(), body, variables(report))


def variables(report: Report) -> dict[str, str]:
    """Return what a command finds in its environment, beside the document on stdin.

    The names are none that this program reads: a hook may call it.
    """
    environment = report.environment.name if report.environment else ""
    found = {
        "COMMAND": report.command,
        "ENVIRONMENT": environment,
        "EXIT_CODE": str(report.exit_code),
        "RUN_ID": report.run_id or "",
        "STATUS": report.status,
    }
    return {f"OPSSIGHT_HOOK_{name}": value for name, value in found.items()}


class _Work(Protocol):
    """One hook. ``run`` returns what went wrong, or None; ``stop`` ends it from outside."""

    def run(self) -> str | None: ...
    def stop(self) -> None: ...


class _Command:
    """A program with its arguments, in a session of its own; what it writes is not our result."""

    def __init__(self, command: str, body: bytes, environment: dict[str, str]) -> None:
        self._words = shlex.split(command)
        self._body = body
        self._environment = os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> str | None:
        try:
            self._process = subprocess.Popen(
                self._words,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        _, complained = self._process.communicate(self._body)
        code = self._process.returncode
        last = complained.decode(errors="replace").strip().splitlines()[-1:]
        return f"it ended with {code}{': ' if last else ''}{''.join(last)}" if code else None

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)


class _NoRedirect(HTTPRedirectHandler):
    """A document goes where the configuration says, and nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        del req, fp, code, msg, headers, newurl


class _Post:
    """One POST of the document; with a secret it is signed, as GitHub signs its own."""

    def __init__(self, hooks: Hooks, body: bytes) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"opssight-migrate/{__version__}",
        }
        if hooks.webhook_secret is not None:
            key = hooks.webhook_secret.get_secret_value().encode()
            digest = hmac.new(key, body, hashlib.sha256).hexdigest()
            headers["X-Opssight-Signature-256"] = f"sha256={digest}"
        url = hooks.webhook.get_secret_value() if hooks.webhook else ""
        self._request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310
        self._timeout_s = hooks.timeout.total_seconds()

    def run(self) -> str | None:
        try:
            with build_opener(_NoRedirect()).open(self._request, timeout=self._timeout_s):
                return None
        except HTTPError as error:
            return f"the server answered {error.code}"
        except OSError as error:
            # Its text may hold the URL, and that is a secret: the kind of error has to do.
            reason = getattr(error, "reason", error)
            return f"nobody took it: {getattr(reason, 'strerror', None) or type(reason).__name__}"

    def stop(self) -> None:
        """Leave it: its thread ends with its time-out, or with us."""


def _within(timeout_s: float, name: str, work: _Work, say: Say) -> str | None:
    """Do the work for as long as it may take; an exception of it is its problem, not ours."""
    ended: list[str | None] = []

    def run() -> None:
        try:
            ended.append(work.run())
        except Exception as error:
            ended.append(type(error).__name__)

    thread = threading.Thread(target=run, name=f"hook {name}", daemon=True)
    thread.start()
    try:
        thread.join(min(_SILENCE_S, timeout_s))
        if thread.is_alive():
            say(f"waiting for {name}, for up to {timeout_s:,.0f} s")
            thread.join(max(timeout_s - _SILENCE_S, 0))
    except KeyboardInterrupt:
        work.stop()
        return "interrupted"
    if not ended:
        work.stop()
        return f"it was given up after {timeout_s:,.0f} s"
    return ended[0]
