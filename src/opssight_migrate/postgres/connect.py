"""The way in: from a profile to a connection string, and from there to a session we can rely on."""

from __future__ import annotations

import ipaddress
import re
import shlex
import subprocess
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from urllib.parse import quote, unquote

import psycopg
from psycopg.conninfo import make_conninfo

from opssight_migrate.model.errors import ConfigError, PoolerError, ServerTooOldError
from opssight_migrate.model.plan import DatabaseFacts
from opssight_migrate.postgres.failures import connecting, parameters_of
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

APPLICATION_NAME = "opssight-migrate"
OLDEST_SERVER = 130000

_PASSWORD_COMMAND_S = 30.0
_POOLER_PROBES = 3

# A dead peer is noticed after a minute, not after the two hours of most kernels.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_INHERITED = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "sslmode": "PGSSLMODE",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
_MAY_GO_PLAIN = ("disable", "allow", "prefer")
_SSL_MODES = {mode: mode for mode in (*_MAY_GO_PLAIN, "require", "verify-ca", "verify-full")}
_SSL = {"true": "require", "1": "require", "false": "disable", "0": "disable", **_SSL_MODES}

# What SQLAlchemy hands to its driver and what changes nothing about whom we reach, and how.
_OF_DRIVERS = frozenset(
    {
        "async_fallback",
        "command_timeout",
        "max_cacheable_statement_size",
        "max_cached_statement_lifetime",
        "prepare_threshold",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
        "statement_cache_size",
    }
)
_URL = re.compile(r"postgres(?:ql)?(?:\+\w+)?://(?P<rest>.*)", re.DOTALL)
_HOSTS = re.compile(r"(?:(?:\[[^\]]*\]|[^:,]*)(?::\d*)?(?:,|$))*")
_BUILT_WITH_SERVICES_IN = "/etc/postgresql-common"


def conninfo_of(profile: Profile, *, env: Mapping[str, str]) -> str:
    """Return libpq's connection string for ``profile``. It may hold a password: never show it.

    What the profile leaves open is left to libpq: its service file, .pgpass and PG* variables. A
    password in the string wins over ``password_command``, which is not run then.

    Raises: ConfigError, if it cannot be read, lacks a part, or could go over a network in plain.
        ValueError for the embedded server, which knows its own.
    """
    if profile.is_embedded:
        raise ValueError("the embedded server knows its own connection string")
    parameters = _parameters(profile, env)
    if profile.password_command and "password" not in parameters:
        command = profile.password_command.get_secret_value()
        parameters["password"] = _printed_by(command, env, profile.origin)
    inherited = {key: env[name] for key, name in _INHERITED.items() if env.get(name)}
    service = parameters.get("service") or env.get("PGSERVICE")
    effective = inherited | (_service(service, env, profile.origin) if service else {}) | parameters
    parameters |= {key: value for key, value in _DEFAULTS.items() if key not in effective}
    parameters |= _encryption(profile, effective)
    return make_conninfo(**{**parameters, "application_name": APPLICATION_NAME})


def opened(conninfo: str, *, application_name: str) -> Session:
    """Return a prepared session, proven to be with one and the same backend of PostgreSQL 13+.

    Raises: ConnectError, PoolerError, ServerTooOldError.
    """
    where = _place(conninfo)
    with connecting(where):
        connection = psycopg.connect(
            conninfo, autocommit=True, prepare_threshold=None, application_name=application_name
        )
    session = Session(connection)
    try:
        _refuse_old_server(session, where)
        # Before prepare: behind a pooler its settings would stay on somebody else's connection.
        _refuse_pooler(session, where)
        session.prepare()
    except BaseException:
        session.close()
        raise
    return session


def facts(session: Session) -> DatabaseFacts:
    """Return who and what ``session`` talks to. ``system_identifier`` is "" where it is refused."""
    info = session.connection.info
    name, oid, user = session.rows(_DATABASE)[0]
    readable = session.scalar("SELECT has_function_privilege('pg_control_system()', 'execute')")
    return DatabaseFacts(
        host=info.host,
        port=info.port,
        name=name,
        user=user,
        server_version=session.scalar("SHOW server_version"),
        system_identifier=session.scalar(_SYSTEM_IDENTIFIER) if readable else "",
        database_oid=int(oid),
        timescaledb=session.scalar(_TIMESCALEDB),
    )


def is_standby(session: Session) -> bool:
    """Return whether the server replays another one, and so cannot be written to."""
    return bool(session.scalar("SELECT pg_is_in_recovery()"))


_DATABASE = """
SELECT datname, oid, current_user FROM pg_database WHERE datname = current_database()
"""
_SYSTEM_IDENTIFIER = "SELECT system_identifier::text FROM pg_control_system()"
_TIMESCALEDB = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"


def _parameters(profile: Profile, env: Mapping[str, str]) -> dict[str, str]:
    if profile.service:
        return {"service": profile.service}
    if profile.url_env:
        text = env.get(profile.url_env, "").strip()
        if not text:
            raise ConfigError(
                f"the variable {profile.url_env} of environment {profile.name} is not set",
                where=profile.origin,
                hint=f"export {profile.url_env}=postgresql://USER@HOST:PORT/DATABASE",
            )
    elif profile.url:
        text = profile.url.get_secret_value().strip()
    else:
        return {}
    if url := _URL.fullmatch(text):
        return _of_url(url["rest"], profile.origin)
    if "://" in text.split("=", 1)[0] or "=" not in text:
        raise ConfigError(
            "the connection string is neither a PostgreSQL URL nor of the form key=value",
            where=profile.origin,
            hint="write postgresql://USER@HOST:PORT/DATABASE",
        )
    return parameters_of(text, where=profile.origin, holds_secret="password" in text.lower())


def _of_url(rest: str, where: str) -> dict[str, str]:
    userinfo, rest = _without_userinfo(rest)
    location, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for item in filter(None, query.split("&")):
        key, _, value = (unquote(part) for part in item.partition("="))
        if key == "ssl":
            if value.lower() not in _SSL:
                raise ConfigError(f"ssl is none of {', '.join(_SSL)}", where=where)
            options.setdefault("sslmode", _SSL[value.lower()])
        elif key not in _OF_DRIVERS:
            options["connect_timeout" if key == "timeout" else key] = value
    secrets = {key: options.pop(key) for key in ("password", "sslpassword") if key in options}
    asked = "&".join(f"{quote(key)}={quote(value)}" for key, value in options.items())
    parameters = parameters_of(
        f"postgresql://{location}?{asked}", where=where, holds_secret="password" in query.lower()
    )
    if not all(port.isdigit() for port in parameters.get("port", "").split(",") if port):
        raise ConfigError("the port in the connection string is not a number", where=where)
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    given = {key: value for key, value in (("user", user), ("password", password)) if value}
    return given | parameters | secrets


def _without_userinfo(rest: str) -> tuple[str, str]:
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        at = authority.rindex("@")
    elif "@" in rest and not _HOSTS.fullmatch(authority):
        at = rest.index("@")  # a bare / or ? in the password, which SQLAlchemy takes
    else:
        return "", rest
    return rest[:at], rest[at + 1 :]


def _printed_by(command: str, env: Mapping[str, str], where: str) -> str:
    password = ""
    try:
        done = subprocess.run(
            shlex.split(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PASSWORD_COMMAND_S,
            check=False,
        )
        password = done.stdout.decode().split("\n", 1)[0].rstrip("\r")
        trouble = "" if password else "printed no password"
        if done.returncode:
            trouble = f"ended with exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        trouble = f"gave no answer in {_PASSWORD_COMMAND_S:g} s"
    except OSError as error:
        trouble = f"cannot be run: {error.strerror}"
    except (ValueError, IndexError):
        trouble = "is not quoted as a shell would want it, or printed what is not UTF-8"
    if trouble:
        raise ConfigError(
            f"password_command {trouble}", where=where, hint="try the command by hand"
        )
    return password


def _service(name: str, env: Mapping[str, str], where: str) -> dict[str, str]:
    # libpq would let what we add to the string win over its file, so we must know what it says.
    own = env.get("PGSERVICEFILE") or Path(env.get("HOME", "/"), ".pg_service.conf")
    shared = Path(env.get("PGSYSCONFDIR") or _BUILT_WITH_SERVICES_IN, "pg_service.conf")
    for place in (Path(own), shared):
        try:
            lines = place.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        if f"[{name}]" in (line.strip() for line in lines):
            return _section(name, lines)
    raise ConfigError(
        f'service "{name}" stands neither in {own} nor in {shared}',
        where=where,
        hint="add it there, or set PGSERVICEFILE",
    )


def _section(name: str, lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    is_ours = False
    for line in (line.strip() for line in lines):
        if line.startswith("["):
            is_ours = line == f"[{name}]"
        elif is_ours and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), value.strip())
    return found


def _encryption(profile: Profile, effective: Mapping[str, str]) -> dict[str, str]:
    hosts = effective.get("host", "").split(",")
    addresses = effective.get("hostaddr", "").split(",")
    reached = [addr or host for addr, host in zip_longest(addresses, hosts, fillvalue="")]
    if profile.tls == "off" or (profile.tls is None and all(map(_is_local, reached))):
        return {}
    mode = effective.get("sslmode")
    if mode in _MAY_GO_PLAIN:
        raise ConfigError(
            f"sslmode={mode} may send the data of {profile.name} over a network in plain",
            where=profile.origin,
            hint="write sslmode=require or verify-full; if the network is safe, "
            f'tls = "off" in [environments.{profile.name}]',
        )
    return {} if mode else {"sslmode": "require"}


def _is_local(host: str) -> bool:
    if not host or host[0] in "/@" or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _place(conninfo: str) -> str:
    parameters = parameters_of(conninfo, where="the connection string", holds_secret=True)
    if "service" in parameters:
        return f"service {parameters['service']}"
    for option in psycopg.pq.Conninfo.get_defaults():
        if option.val:
            parameters.setdefault(option.keyword.decode(), option.val.decode(errors="replace"))
    user, host = parameters.get("user", ""), parameters.get("host", "the local socket")
    port, name = parameters.get("port", ""), parameters.get("dbname", user)
    return f"{user}@{host}:{port}/{name}"


def _refuse_old_server(session: Session, where: str) -> None:
    if session.server_version < OLDEST_SERVER:
        version = session.connection.info.parameter_status("server_version")
        raise ServerTooOldError(
            f"PostgreSQL {version} is older than 13",
            where=where,
            hint="upgrade the server with pg_upgrade first",
        )


def _refuse_pooler(session: Session, where: str) -> None:
    # A lone client of a pooler may get one backend all the time, yet not the one announced to it.
    for _ in range(_POOLER_PROBES):
        answering = session.unhurried(lambda: _answering(session))
        if answering != session.pid:
            raise PoolerError(
                f"a connection pooler stands before the server: backend {session.pid} was "
                f"announced, backend {answering} answers",
                where=where,
                hint="connect to PostgreSQL itself: its own host and port, not the pooler's",
            )


def _answering(session: Session) -> int:
    # In a transaction, so that nothing of it stays behind on a pooler's connection.
    with session.writing():
        session.execute("SET LOCAL statement_timeout = 0")
        return int(session.scalar("SELECT pg_backend_pid()"))
