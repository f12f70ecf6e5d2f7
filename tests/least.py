"""An ordinary role that has just what ``doctor`` tells an administrator to grant, and no more.

The tests of the verbs work as it, on tables of another ordinary role. Whoever needs a superuser
says so: ``@pytest.mark.needs_superuser("why")``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import (
    DatabaseAt,
    NewDatabase,
    TemplateAt,
    copy_database,
    run_on,
)

from opssight_migrate.commands.doctor import doctor
from opssight_migrate.model.events import unheard
from opssight_migrate.model.report import Report
from opssight_migrate.postgres.cluster import USER as SUPERUSER
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.settings import Settings

OWNER = "opssight_owner"
WORKER = "opssight_worker"

_GIVEN_AWAY = """
SELECT format('ALTER TABLE public.%%I OWNER TO %%I', relname, %(owner)s::text) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
 UNION ALL
SELECT format('ALTER TYPE public.%%I OWNER TO %%I', typname, %(owner)s::text) FROM pg_type
 WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
"""
Grants = tuple[str, ...]
LeastAt = Callable[[str, bool], tuple[str, Grants]]


def as_superuser(conninfo: str) -> str:
    """Return the way into the same database for whoever sets a scene."""
    return make_conninfo(conninfo, user=SUPERUSER)


def as_worker(conninfo: str) -> str:
    """Return the way into the same database for whoever migrates it."""
    return make_conninfo(conninfo, user=WORKER)


def give_away(conninfo: str, owner: str = OWNER) -> None:
    """Let ``owner`` have OpsSight's tables and types, and nobody else anything in ``public``."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        for (statement,) in connection.execute(_GIVEN_AWAY, {"owner": owner}).fetchall():
            connection.execute(sql.SQL(statement))
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        connection.execute(
            sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(sql.Identifier(owner))
        )


def grants_of(report: Report) -> Grants:
    """Return the statements without which, says a report of ``doctor``, nothing can be migrated.

    What only some verbs want is a note.
    """
    lacks = [one for one in report.diagnostics if one.code == "privileges"]
    return tuple(one.hint for one in lacks if one.hint and one.severity == "error")


def printed(conninfo: str) -> Grants:
    """Return the statements that ``doctor`` prints for the worker of a database."""
    settings = Settings.model_validate(
        {
            "project": {"default_environment": "test"},
            "environments": {"test": {"url": as_worker(conninfo)}},
        }
    )
    profile = settings.profile(None)
    return grants_of(doctor(settings, profile, log_dir=Path("/tmp"), emit=unheard))


def granted(conninfo: str, statements: Grants) -> None:
    """Run the statements as an administrator would."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement))


@pytest.fixture(scope="session")
def least_at(server: Cluster, template_at: TemplateAt) -> LeastAt:
    """Name a template that the worker may work in, and what a copy of it does not inherit."""
    for role in (OWNER, WORKER):
        run_on(server, sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))

    @cache
    def template(revision: str, filled: bool) -> tuple[str, Grants]:
        source = template_at(revision, filled)
        name = f"least_{source}"
        copy_database(server, source, name)
        conninfo = server.conninfo(name)
        give_away(conninfo)
        statements = printed(conninfo)
        granted(conninfo, statements)
        return name, tuple(one for one in statements if f'DATABASE "{name}"' in one)

    return template


@pytest.fixture
def least_database_at(
    request: pytest.FixtureRequest,
    new_database: NewDatabase,
    template_at: TemplateAt,
    least_at: LeastAt,
) -> DatabaseAt:
    """Make a database at a revision, and return the worker's way into it."""

    def make(revision: str, filled: bool = True) -> str:
        if request.node.get_closest_marker("needs_superuser"):
            return new_database(template_at(revision, filled))
        template, statements = least_at(revision, filled)
        conninfo = new_database(template)
        name = str(conninfo_to_dict(conninfo)["dbname"])
        granted(conninfo, tuple(one.replace(template, name) for one in statements))
        return as_worker(conninfo)

    return make
