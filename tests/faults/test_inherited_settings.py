"""What the role or the database sets for its sessions does not disturb a run."""

from __future__ import annotations

import time

import psycopg
import pytest
from psycopg import sql
from tests.faults.conftest import Migrate, Outcome, outcome
from tests.least import as_superuser

from opssight_migrate.model.events import Event, StepStarted

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

SETTINGS: dict[str, str] = {
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_session_timeout": "300ms",
    "idle_in_transaction_session_timeout": "300ms",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "row_security": "on",
    "extra_float_digits": "-5",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug5",
    "client_connection_check_interval": "0",
    "synchronous_commit": "off",
}


def inherit(conninfo: str, settings: dict[str, str]) -> None:
    """Set ``settings`` for every session of the database that is still to come."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        for setting, value in settings.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                    name,
                    sql.Identifier(setting),
                    # A list of schemas is not a string.
                    sql.Identifier(value) if setting == "search_path" else sql.Literal(value),
                )
            )


def forget(conninfo: str) -> None:
    """Take the settings back, for the eyes of the test itself."""
    with psycopg.connect(
        as_superuser(conninfo), options="-c statement_timeout=0", autocommit=True
    ) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(connection.info.dbname))
        )


ALONE = ("statement_timeout", "default_transaction_read_only", "search_path")


@pytest.mark.parametrize("setting", [*ALONE, "all of them"])
def test_a_setting_of_the_database_does_not_disturb_a_run(
    crowded: str, migrated: Migrate, undisturbed: Outcome, setting: str
) -> None:
    chosen = {setting: SETTINGS[setting]} if setting in SETTINGS else SETTINGS
    idle_s = 0.5 if any(name.startswith("idle") for name in chosen) else 0.0

    def pause(event: Event) -> None:
        # Longer than the inherited time-outs of idle sessions.
        if isinstance(event, StepStarted) and event.step_id == "assign-roles":
            time.sleep(idle_s)

    inherit(crowded, chosen)
    report = migrated(crowded, also=pause).report
    forget(crowded)

    assert (report.exit_code, report.status) == (0, "ok"), report.diagnostics
    assert outcome(crowded) == undisturbed
