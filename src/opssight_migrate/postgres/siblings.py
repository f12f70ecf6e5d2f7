"""Other ways to a server that a session is on: another database of it, or a client program."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from psycopg.conninfo import make_conninfo

from opssight_migrate.model.errors import ClientToolError
from opssight_migrate.postgres import connect
from opssight_migrate.postgres.session import Session

MAINTENANCE = "postgres"
"""The database from which others are made, renamed and dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramConnection:
    """How a client program connects: a conninfo without secrets, and an environment with them."""

    conninfo: str
    environment: dict[str, str] = field(repr=False)


def sibling(session: Session, database: str, application_name: str) -> Session:
    """Open a session to another database of the very server that ``session`` is on.

    Raises: ConnectError and what ``connect.opened`` raises.
    """
    return connect.opened(conninfo(session, database), application_name=application_name)


def conninfo(session: Session, database: str) -> str:
    """Return how to connect to another database of that server, its password included."""
    parameters = _parameters(session) | {"dbname": database}
    if password := session.connection.info.password:
        parameters["password"] = password
    return make_conninfo(**parameters)


def for_program(session: Session, database: str | None = None) -> ProgramConnection:
    """Return how pg_dump, pg_restore and psql reach ``database``, by default the session's own.

    The password goes by the environment, which other users of the machine cannot read; a file
    would outlive a killed process, and an argument is everybody's.

    Raises: ClientToolError where the connection needs a secret that no variable takes.
    """
    parameters = _parameters(session)
    if "sslpassword" in parameters:
        raise ClientToolError(
            "pg_dump cannot be given the sslpassword of the connection string without showing it",
            hint="use a client key without a passphrase, readable to its owner only",
        )
    if database is not None:
        parameters["dbname"] = database
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {key: os.environ[key] for key in ("PGPASSFILE",) if key in os.environ}
    environment |= {"LC_ALL": "C", "PGAPPNAME": "opssight-migrate/backup/client"}
    if password := session.connection.info.password:
        environment["PGPASSWORD"] = password
    # An inherited statement_timeout of the role would cut a dump off; row security must show.
    environment["PGOPTIONS"] = "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0"
    if session.server_version < _FIRST_WITH_IDLE_SESSION_TIMEOUT:
        environment["PGOPTIONS"] = "-c statement_timeout=0 -c lock_timeout=0"
    return ProgramConnection(conninfo=make_conninfo(**parameters), environment=environment)


_FIRST_WITH_IDLE_SESSION_TIMEOUT = 140000
# Our libpq is newer than that of the programs, and they refuse an option that they do not know.
# require_auth is carried all the same: a program that does not know it shall fail, not do without.
_CARRIED = frozenset(
    {
        *("channel_binding", "connect_timeout", "dbname", "gssencmode", "host", "hostaddr"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
        *("krbsrvname", "passfile", "port", "require_auth", "requirepeer", "sslcert", "sslcrl"),
        *("sslkey", "sslmode", "sslpassword", "sslrootcert", "ssl_min_protocol_version"),
        *("tcp_user_timeout", "user"),
    }
)


def _parameters(session: Session) -> dict[str, str]:
    """Return the connection's parameters but the password, pinned to the host that answered."""
    info = session.connection.info
    parameters = {key: str(value) for key, value in info.get_parameters().items()}
    parameters = {key: value for key, value in parameters.items() if key in _CARRIED}
    if "," in parameters.get("host", "") or "," in parameters.get("hostaddr", ""):
        parameters.pop("hostaddr", None)
        parameters["host"] = info.host
    parameters["port"] = str(info.port)
    return parameters
