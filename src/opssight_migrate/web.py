"""GET requests to the running platform: the status alone is read, and no redirect is followed."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from opssight_migrate import __version__
from opssight_migrate.settings.platform import HttpRequest, is_open

TIMEOUT_S = 10.0


class NoAnswerError(Exception):
    """A request was not sent, or not answered; the text says why and quotes no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request of the settings under its name, with the whole URL."""

    name: str
    url: str
    status: int
    token_env: str | None

    @property
    def shown(self) -> str:
        """The URL without its query, in which somebody may have put a secret."""
        return urlunsplit(urlsplit(self.url)._replace(query="", fragment=""))


def requests_of(
    configured: Mapping[str, HttpRequest], platform_url: str | None
) -> tuple[Request, ...]:
    """Return what may be asked; a path is left out where the environment names no platform."""
    return tuple(
        Request(
            name=name,
            url=one.url if one.is_absolute else f"{(platform_url or '').rstrip('/')}{one.url}",
            status=one.status,
            token_env=one.token_env,
        )
        for name, one in configured.items()
        if one.is_absolute or platform_url
    )


def status_of(request: Request, env: Mapping[str, str]) -> int:
    """Send the GET and return the status of its answer.

    TLS is verified against the system's authorities (SSL_CERT_FILE names others).

    Raises: NoAnswerError.
    """
    asked = urllib.request.Request(request.url, headers=_headers(request, env))  # noqa: S310
    opener = urllib.request.build_opener(
        _NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    try:
        with opener.open(asked, timeout=TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.code
    except TimeoutError:
        raise NoAnswerError(f"no answer within {TIMEOUT_S:.0f} s") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise NoAnswerError(f"no answer within {TIMEOUT_S:.0f} s") from None
        why = error.reason.strerror if isinstance(error.reason, OSError) else None
        raise NoAnswerError(f"cannot connect: {why or error.reason}") from None
    except http.client.HTTPException as error:
        raise NoAnswerError(f"that is no HTTP: {type(error).__name__}") from None
    except OSError as error:
        raise NoAnswerError(error.strerror or type(error).__name__) from None


def _headers(request: Request, env: Mapping[str, str]) -> dict[str, str]:
    headers = {"User-Agent": f"opssight-migrate/{__version__}", "Accept": "application/json"}
    if request.token_env is None:
        return headers
    token = env.get(request.token_env, "").strip()
    if not token:
        raise NoAnswerError(f"the variable {request.token_env} is not set")
    if not (token.isascii() and token.isprintable()) or " " in token:
        # urllib would quote it in its own error.
        raise NoAnswerError(f"what the variable {request.token_env} holds is no token")
    if is_open(request.url):
        raise NoAnswerError("a token goes over https alone")
    return headers | {"Authorization": f"Bearer {token}"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like another: to follow it would hand the token to somebody else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        """Follow nothing."""
        del req, fp, code, msg, headers, newurl
