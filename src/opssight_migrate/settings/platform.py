"""[verify.http]: what may be asked of the running platform."""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def checked_url(text: str) -> str:
    """Return an http or https URL that is whole and holds no secret.

    Raises: ValueError.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError('not a URL of the platform: write "https://opssight.example.org"')
    if parts.username or parts.password:
        raise ValueError("a URL holds no user and no password: name a variable with token_env")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URL has neither blanks nor other letters: write them as %XX")
    return text


class HttpRequest(BaseModel):
    """[verify.http.NAME]: a GET and the status that it must be answered with.

    ``url`` is whole, or a path under the environment's ``platform_url``; ``token_env`` names the
    variable that holds a bearer token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, Field(min_length=1)]
    status: Annotated[int, Field(ge=100, le=599)] = 200
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None

    @property
    def is_absolute(self) -> bool:
        """Whether the URL is whole."""
        return not self.url.startswith("/")

    @model_validator(mode="after")
    def _is_safe_to_send(self) -> Self:
        url = checked_url(self.url if self.is_absolute else f"https://x{self.url}")
        if self.token_env and is_open(url):
            raise ValueError("a token goes over https alone")
        return self


def is_open(url: str) -> bool:
    """Tell whether what is sent there can be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK
