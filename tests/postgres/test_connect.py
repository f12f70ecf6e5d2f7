"""From a profile to a session: what libpq is told, what is refused, and what is never said."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import NewDatabase
from tests.postgres.pooler import pooled

from opssight_migrate.model.errors import (
    ConfigError,
    ConnectError,
    ExitCode,
    MigrateError,
    PoolerError,
    ServerTooOldError,
)
from opssight_migrate.postgres import connect
from opssight_migrate.postgres.connect import conninfo_of, facts, is_standby, opened
from opssight_migrate.postgres.session import RELIED_ON, Session
from opssight_migrate.settings import load

SECRET = "hunter2-%-geheim"


def parameters(
    url: str | None = None, *, env: Mapping[str, str] | None = None, **keys: str
) -> dict[str, str]:
    """What libpq would read for an environment with these keys."""
    table = {**({"url": url} if url else {}), **keys}
    variables = {f"OPSSIGHT_ENVIRONMENTS__DB__{key}": value for key, value in table.items()}
    # One variable is always there, so that "db" exists where nothing else is said of it.
    variables["OPSSIGHT_ENVIRONMENTS__DB__PROTECTED"] = "false"
    settings = load(cwd=Path("/"), env=variables)
    conninfo = conninfo_of(settings.profile("db"), env=env or {})
    return {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}


def everything_said(error: BaseException) -> str:
    lines = traceback.format_exception(error)
    hint = error.hint if isinstance(error, MigrateError) else ""
    where = error.where if isinstance(error, MigrateError) else ""
    return "\n".join([*lines, str(error), repr(error), str(hint), str(where)])


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2", "postgresql+psycopg"],
)
def test_a_url_of_any_driver_is_read(scheme: str) -> None:
    read = parameters(f"{scheme}://app:s%40fe@localhost:5433/opssight")

    assert read["user"] == "app"
    assert read["password"] == "s@fe"
    assert (read["host"], read["port"], read["dbname"]) == ("localhost", "5433", "opssight")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("p%25w", "p%w"),
        ("100%", "100%"),
        ("a%2Fb", "a/b"),
        ("a/b", "a/b"),
        ("a?b", "a?b"),
        ("a@b", "a@b"),
        ("a:b", "a:b"),
        ("a+b", "a+b"),
        ("a'b\\ c", "a'b\\ c"),
        ("%C3%BC", "ü"),
    ],
)
def test_special_characters_in_a_password_mean_themselves(written: str, meant: str) -> None:
    read = parameters(f"postgresql://app:{written}@localhost/opssight")

    assert read["password"] == meant
    assert (read["host"], read["dbname"]) == ("localhost", "opssight")


def test_an_at_sign_in_an_option_is_not_taken_for_a_password() -> None:
    read = parameters("postgresql://localhost:5432/opssight?user=app@tenant")

    assert (read["user"], read["host"], read["port"]) == ("app@tenant", "localhost", "5432")


def test_hosts_of_every_form_are_left_to_libpq() -> None:
    assert parameters("postgresql://[::1]:5433,localhost/db")["host"] == "::1,localhost"
    assert parameters("postgresql://%2Frun%2Fpg/db")["host"] == "/run/pg"
    assert parameters("postgresql:///db?host=/run/pg")["host"] == "/run/pg"


def test_options_of_the_drivers_are_translated_or_dropped() -> None:
    read = parameters(
        "postgresql+asyncpg://db.example/x?ssl=verify-full&timeout=3&async_fallback=true"
        "&prepared_statement_cache_size=0"
    )

    assert read["sslmode"] == "verify-full"
    assert read["connect_timeout"] == "3"
    assert "async_fallback" not in read


def test_an_option_nobody_knows_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match='"sslmod"'):
        parameters("postgresql://app@localhost/x?sslmod=require")


def test_a_key_value_string_is_read() -> None:
    read = parameters("host=localhost user=app password='a b' dbname=x")

    assert (read["user"], read["password"], read["dbname"]) == ("app", "a b", "x")


def test_a_url_may_stand_in_a_variable_of_its_own() -> None:
    read = parameters(url_env="DATABASE_URL", env={"DATABASE_URL": "postgres://app@localhost/x"})

    assert (read["user"], read["dbname"]) == ("app", "x")


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL") as caught:
        parameters(url_env="DATABASE_URL")
    assert caught.value.where == "OPSSIGHT_ENVIRONMENTS__DB__URL_ENV"


def test_nothing_said_means_what_libpq_means() -> None:
    read = parameters()

    assert not {"host", "user", "dbname", "password", "sslmode"} & set(read)
    assert read["application_name"] == "opssight-migrate"
    assert read["connect_timeout"] == "10"
    assert (read["keepalives_idle"], read["keepalives_interval"], read["keepalives_count"]) == (
        "30",
        "10",
        "3",
    )


def test_what_the_operator_says_of_time_outs_stays() -> None:
    assert parameters("host=localhost connect_timeout=3")["connect_timeout"] == "3"
    assert "connect_timeout" not in parameters(env={"PGCONNECT_TIMEOUT": "3"})


def test_the_embedded_server_is_not_asked_for_here() -> None:
    with pytest.raises(ValueError, match="embedded"):
        conninfo_of(load(cwd=Path("/"), env={}).profile("local"), env={})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/x",
        "postgresql://10.0.0.7/x",
        "postgresql://127.evil.example/x",
        "postgresql://localhost,db.example/x",
        "postgresql://localhost/x?hostaddr=10.0.0.7",
    ],
)
def test_encryption_is_required_off_this_machine(url: str) -> None:
    assert parameters(url)["sslmode"] == "require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/x",
        "postgresql://127.0.0.2/x",
        "postgresql://[::1]/x",
        "postgresql:///x?host=/run/pg",
        "postgresql:///x",
        "postgresql://db.example/x?hostaddr=127.0.0.1",
    ],
)
def test_encryption_is_not_asked_for_on_this_machine(url: str) -> None:
    assert "sslmode" not in parameters(url)
    assert parameters(url, tls="require")["sslmode"] == "require"


def test_the_host_in_pghost_counts_for_encryption() -> None:
    assert parameters(env={"PGHOST": "db.example"})["sslmode"] == "require"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_mode_that_may_go_plain_is_refused_off_this_machine(mode: str) -> None:
    url = "postgresql://db.example/x"

    with pytest.raises(ConfigError, match=f"sslmode={mode}"):
        parameters(f"{url}?sslmode={mode}")
    with pytest.raises(ConfigError, match=f"sslmode={mode}"):
        parameters(url, env={"PGSSLMODE": mode})
    assert parameters(f"{url}?sslmode={mode}", tls="off")["sslmode"] == mode
    assert parameters(f"postgresql://localhost/x?sslmode={mode}")["sslmode"] == mode


def test_tls_off_allows_a_plain_connection() -> None:
    assert "sslmode" not in parameters("postgresql://db.example/x", tls="off")


def test_a_stricter_mode_stays() -> None:
    assert "sslmode" not in parameters(
        "postgresql://db.example/x", env={"PGSSLMODE": "verify-full"}
    )


@pytest.fixture
def services(tmp_path: Path) -> dict[str, str]:
    """An environment whose service file holds three services."""
    file = tmp_path / "services.conf"
    file.write_text(
        "# ours\n[strict]\nhost=db.example\nsslmode=verify-full\nconnect_timeout=4\n"
        "[silent]\nhost=db.example\n\n[plain]\nhost=db.example\nsslmode=disable\n"
    )
    return {"PGSERVICEFILE": str(file)}


def test_nothing_we_add_wins_over_a_service_file(services: dict[str, str]) -> None:
    read = parameters(service="strict", env=services)

    assert read["service"] == "strict"
    assert not {"sslmode", "connect_timeout", "host"} & set(read)


def test_a_service_is_held_to_the_rules_of_encryption(services: dict[str, str]) -> None:
    assert parameters(service="silent", env=services)["sslmode"] == "require"
    assert parameters(env={**services, "PGSERVICE": "silent"})["sslmode"] == "require"
    with pytest.raises(ConfigError, match="sslmode=disable"):
        parameters(service="plain", env=services)


def test_a_service_that_stands_nowhere_is_refused(services: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match='"gone"'):
        parameters(service="gone", env=services)


def printing(tmp_path: Path, program: str) -> str:
    file = tmp_path / "password command.py"
    file.write_text(program)
    return f"{sys.executable} '{file}'"


def test_the_first_line_of_the_password_command_is_the_password(tmp_path: Path) -> None:
    command = printing(tmp_path, f"print('{SECRET}'); print('second')")

    assert parameters("host=localhost", password_command=command)["password"] == SECRET


def test_a_password_in_the_string_wins_over_the_command(tmp_path: Path) -> None:
    command = printing(tmp_path, "raise SystemExit(1)")

    read = parameters("postgresql://app:mine@localhost/x", password_command=command)

    assert read["password"] == "mine"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (f"print('{SECRET}'); raise SystemExit(3)", "exit code 3"),
        (f"import sys; sys.exit('{SECRET}')", "exit code 1"),
        ("print()", "no password"),
        (f"import sys; sys.stdout.buffer.write(b'{SECRET}\\xff')", "UTF-8"),
        (f"print('{SECRET}', flush=True); import time; time.sleep(60)", "no answer in 2 s"),
    ],
)
def test_a_failing_password_command_is_reported_without_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    monkeypatch.setattr(connect, "_PASSWORD_COMMAND_S", 2.0)

    with pytest.raises(ConfigError, match=said) as caught:
        parameters("host=localhost", password_command=printing(tmp_path, program))
    assert SECRET not in everything_said(caught.value)


@pytest.mark.parametrize(
    ("command", "said"), [("/nowhere/at-all", "cannot be run"), ("'open", "quoted")]
)
def test_a_password_command_that_is_none_is_refused(command: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parameters("host=localhost", password_command=command)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://app:{SECRET}@localhost/x",
        f"postgresql://app:{SECRET}@localhost/x?nonsense=1&password={SECRET}",
        f"postgresql://app:{SECRET}@local%host/x",
        f"postgresql://app:{SECRET}@localhost:port/x",
        f"postgresql://app:{SECRET}/x",
        f"postgresql://app:{SECRET}@db.example/x?sslmode=disable",
        f"postgresql://app@localhost/x?ssl={SECRET}",
        f"host=localhost password=a {SECRET}",
        f"host=localhost password='{SECRET}",
        f"host=localhost password=a {SECRET}=b",
        f"host=localhost nonsense=1 password={SECRET}",
        SECRET,
    ],
)
def test_no_part_of_a_refused_connection_string_is_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters(url)
    assert "hunter2" not in everything_said(caught.value)


def test_a_session_is_ready_and_named(new_database: NewDatabase) -> None:
    session = opened(new_database(), application_name="opssight-migrate/r1/s1")
    try:
        assert session.scalar("SHOW application_name") == "opssight-migrate/r1/s1"
        assert session.scalar("SHOW search_path") == "public, pg_temp"
        assert session.connection.autocommit
        assert session.connection.prepare_threshold is None
    finally:
        session.close()


def test_a_setting_that_is_refused_or_unknown_keeps_no_other_from_being_set(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RELIED_ON, "client_connection_check_interval", "refused")
    monkeypatch.setitem(RELIED_ON, "no_such_setting", "unknown")
    session.execute("SET statement_timeout = '1h'")
    session.execute("SET quote_all_identifiers = on")

    session.prepare()

    assert session.scalar("SHOW statement_timeout") == "0"
    assert session.scalar("SHOW quote_all_identifiers") == "off"
    assert session.scalar("SELECT current_setting('no_such_setting', true)") is None


def test_facts_are_those_of_the_server(session: Session) -> None:
    found = facts(session)

    assert found.name == session.scalar("SELECT current_database()")
    assert found.user == session.scalar("SELECT current_user")
    assert found.server_version.startswith(str(session.server_version // 10000))
    assert found.system_identifier.isdigit()
    assert found.database_oid > 0
    assert found.host.startswith("/")
    assert found.timescaledb is None
    assert not is_standby(session)


def test_a_role_that_may_not_read_the_system_identifier_gets_none(session: Session) -> None:
    session.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    session.execute("SET ROLE pg_signal_backend")

    assert facts(session).system_identifier == ""
    assert facts(session).user == "pg_signal_backend"


def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    conninfo = make_conninfo(
        host=str(tmp_path), port=1, user="app", dbname="x", password=SECRET, connect_timeout=2
    )

    with pytest.raises(ConnectError, match=rf"app@{tmp_path}:1/x") as caught:
        opened(conninfo, application_name="opssight-migrate")
    assert caught.value.exit_code is ExitCode.CONNECT
    assert caught.value.where == f"app@{tmp_path}:1/x"
    assert SECRET not in everything_said(caught.value)


def test_a_refused_login_says_why_without_the_password(new_database: NewDatabase) -> None:
    conninfo = make_conninfo(new_database(), dbname="no-such-database", password=SECRET)

    with pytest.raises(ConnectError, match="no-such-database") as caught:
        opened(conninfo, application_name="opssight-migrate")
    assert SECRET not in everything_said(caught.value)


def test_a_string_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        opened(f"host=x password=a {SECRET}", application_name="opssight-migrate")
    assert SECRET not in everything_said(caught.value)


def test_a_transaction_mode_pooler_is_refused(new_database: NewDatabase) -> None:
    with (
        pooled(new_database()) as conninfo,
        pytest.raises(PoolerError, match="pooler") as caught,
    ):
        opened(conninfo, application_name="opssight-migrate")
    assert caught.value.exit_code is ExitCode.REFUSED


def test_the_pooler_of_these_tests_works_as_one(new_database: NewDatabase) -> None:
    with (
        pooled(new_database()) as conninfo,
        psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection,
    ):
        pids = [connection.execute("SELECT pg_backend_pid()").fetchone() for _ in range(4)]
        with connection.transaction():
            within = [connection.execute("SELECT pg_backend_pid()").fetchone() for _ in range(4)]
    assert len(set(pids)) == 2
    assert len(set(within)) == 1


def test_a_server_older_than_13_is_refused(new_database: NewDatabase) -> None:
    with (
        pooled(new_database(), claims_version="12.22") as conninfo,
        pytest.raises(ServerTooOldError, match=r"12\.22"),
    ):
        opened(conninfo, application_name="opssight-migrate")


def test_a_server_without_encryption_is_not_spoken_to(new_database: NewDatabase) -> None:
    with (
        pooled(new_database()) as conninfo,
        pytest.raises(ConnectError, match="SSL"),
    ):
        opened(make_conninfo(conninfo, sslmode="require"), application_name="opssight-migrate")
