"""The only place that catches the driver's errors; it keeps the SQLSTATE and says it in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from opssight_migrate.model.errors import (
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DiskFullError,
    MigrateError,
    PrivilegeError,
    RefusedError,
    StatementError,
)

_SECRET = re.compile(
    r"(password|sslpassword|passfile)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE
)
_UNKNOWN_OPTION = ("invalid connection option", "invalid URI query parameter")
_URL_SECRET = re.compile(r"(://[^:/@\s]+):[^@\s]*@")


class LockNotAvailableError(StatementError):
    """A short attempt at a lock ran into its time-out (55P03); the door tries again."""


class DeadlockError(StatementError):
    """The server chose us as the victim of a deadlock (40P01) or a serialization (40001)."""


class UniqueError(StatementError):
    """A unique index refused a row or could not be built (23505)."""


def masked(text: str) -> str:
    """Return ``text`` without what looks like a password in a URL or a conninfo string."""
    return _URL_SECRET.sub(r"\1:***@", _SECRET.sub(r"\1=***", text))


@contextmanager
def translated(doing: str | None = None) -> Iterator[None]:
    """Turn a driver error into one of ours. ``doing`` says what was tried, for the message."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error, doing) from error


@contextmanager
def translated_from_alembic() -> Iterator[None]:
    """Turn what Alembic and SQLAlchemy raise around a driver's error into one of ours."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        # Leaving a broken transaction raises anew and hides what broke it: that is told.
        if isinstance(error.__context__, MigrateError):
            raise error.__context__ from error
        if isinstance(error.orig, psycopg.Error):
            raise _translation(error.orig, None) from error
        raise
    except psycopg.Error as error:
        raise _translation(error, None) from error
    except CommandError as error:
        raise RefusedError(
            f"the revision chain: {error}", hint="opssight-migrate status"
        ) from error


@contextmanager
def told_by_alembic() -> Iterator[None]:
    """Turn an error of ours into Alembic's, which its command line prints without a traceback."""
    from alembic.util import CommandError

    try:
        with translated_from_alembic():
            yield
    except MigrateError as error:
        hint = f"; {error.hint}" if error.hint else ""
        raise CommandError(f"{error.code}: {error.message}{hint}") from error


@contextmanager
def connecting(where: str) -> Iterator[None]:
    """Turn a driver error at the log-in to ``where`` into a ConnectError."""
    try:
        yield
    except psycopg.Error as error:
        raise connect_error(error, where) from error


def parameters_of(conninfo: str, *, where: str, holds_secret: bool) -> dict[str, str]:
    """Return what libpq reads in a connection string.

    libpq quotes what it cannot read, and behind a badly quoted password that is a piece of it:
    with ``holds_secret`` no word of the string is repeated.

    Raises: ConfigError, about ``where``.
    """
    try:
        return {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    except psycopg.Error as error:
        reason = str(error).strip()
    if '"' in reason and (holds_secret or not reason.startswith(_UNKNOWN_OPTION)):
        reason = "the reason is withheld, for it quotes the text; are all values quoted?"
    raise ConfigError(
        f"the connection string cannot be read: {reason}",
        where=where,
        hint="write postgresql://USER@HOST:PORT/DATABASE, with special characters as %XX",
    )


def connect_error(error: psycopg.Error, where: str) -> ConnectError:
    """Return what to tell an operator whose connection to ``where`` did not come about."""
    reason = masked(str(error).strip()) or type(error).__name__
    return ConnectError(
        f"cannot connect to {where}: {reason}",
        where=where,
        hint="check host, port, user, password and pg_hba.conf, then: opssight-migrate status",
        sqlstate=error.sqlstate,
    )


def _translation(error: psycopg.Error, doing: str | None) -> MigrateError:
    primary = error.diag.message_primary or str(error).strip() or type(error).__name__
    # The detail of a violated constraint or a bad value quotes the row, tokens and all.
    is_about_rows = (error.sqlstate or "")[:2] in {"22", "23"}
    detail = None if is_about_rows else error.diag.message_detail
    text = masked(f"{primary} ({detail})" if detail else primary)
    message = f"{doing}: {text}" if doing else text
    state = error.sqlstate
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return LockNotAvailableError(message, sqlstate=state)
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return DeadlockError(message, sqlstate=state)
    if isinstance(error, psycopg.errors.UniqueViolation):
        return UniqueError(message, sqlstate=state)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = "opssight-migrate doctor prints each GRANT that is lacking"
        return PrivilegeError(message, sqlstate=state, hint=hint)
    if isinstance(error, psycopg.errors.DiskFull):
        return DiskFullError(
            message,
            sqlstate=state,
            hint="make room on the server's disk, and give the same command again",
        )
    if _is_lost(error):
        return ConnectionLostError(
            f"the connection to the server was lost: {message}",
            sqlstate=state,
            hint="see that the server is up, and give the same command again",
        )
    return StatementError(message, sqlstate=state, hint="opssight-migrate status")


def _is_lost(error: psycopg.Error) -> bool:
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    # 08 connection exceptions, 57P0x: the administrator or a crash ended the backend.
    return state.startswith("08") or state in {"57P01", "57P02", "57P03", "57P05", "25P03"}
