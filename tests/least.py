"""Ordinary roles that have just what ``doctor`` tells an administrator to grant, and no more.

Tests work as the one that has what every run needs, on tables of another ordinary role. What only
some verbs use, of which ``doctor`` tells in a note, another one has:
``@pytest.mark.needs_further_grants("why")``. Whoever needs a superuser says so too:
``@pytest.mark.needs_superuser("why")``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import (
    DatabaseAt,
    NewDatabase,
    TemplateAt,
    copy_database,
)

from opssight_migrate.commands.doctor import doctor
from opssight_migrate.model.events import unheard
from opssight_migrate.model.report import Report
from opssight_migrate.postgres.cluster import USER as SUPERUSER
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.settings import Settings

OWNER = "opssight_owner"
WORKER = "opssight_worker"
FURTHER = "opssight_further"

_GIVEN_AWAY = """
SELECT format('ALTER TABLE public.%%I OWNER TO %%I', relname, %(owner)s::text) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
 UNION ALL
SELECT format('ALTER TYPE public.%%I OWNER TO %%I', typname, %(owner)s::text) FROM pg_type
 WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
"""
_PLACE = "{database}"
Grants = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A template that ``role`` may work in; ``grants`` are what a copy of it does not inherit."""

    template: str
    role: str
    grants: Grants = ()

    def opened_in(self, conninfo: str) -> str:
        """Grant what a copy lacks, and return the role's way into it."""
        name = str(conninfo_to_dict(conninfo)["dbname"])
        granted(conninfo, tuple(one.replace(_PLACE, f'"{name}"') for one in self.grants))
        return make_conninfo(conninfo, user=self.role)


def make_roles(server: Cluster) -> None:
    """Make the roles of a server, which have nothing yet."""
    with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        for role in {OWNER, WORKER, FURTHER} - there:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))


def placed(server: Cluster, name: str, role: str) -> Place:
    """Let ``role`` work in the database ``name``, by what ``doctor`` prints; return the place."""
    conninfo = server.conninfo(name)
    give_away(conninfo)
    itself: Grants = ()
    if role == FURTHER:  # a superuser's database would be granted with all that one may
        itself = (f'ALTER DATABASE "{name}" OWNER TO "{OWNER}"',)
        granted(conninfo, itself)
    statements = printed(conninfo, role, further=role == FURTHER)
    granted(conninfo, statements)
    itself += tuple(one for one in statements if f'DATABASE "{name}"' in one)
    return Place(
        template=name,
        role=role,
        grants=tuple(one.replace(f'"{name}"', _PLACE) for one in itself),
    )


def derived(server: Cluster, place: Place, name: str) -> tuple[Place, str]:
    """Copy a place for a template of another name; return that, and the role's way into it."""
    copy_database(server, place.template, name)
    return replace(place, template=name), place.opened_in(server.conninfo(name))


def role_of(request: pytest.FixtureRequest) -> str:
    """Return whom a test works as, by its marker."""
    if request.node.get_closest_marker("needs_superuser"):
        return SUPERUSER
    return FURTHER if request.node.get_closest_marker("needs_further_grants") else WORKER


class LeastAt(Protocol):
    """Name the place of a role at a revision, filled or empty."""

    def __call__(self, revision: str, filled: bool, role: str) -> Place: ...


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


def grants_of(report: Report, *, further: bool = False) -> Grants:
    """Return the statements without which, says a report of ``doctor``, nothing can be migrated.

    What only some verbs want is a note, and left out unless ``further``.
    """
    lacks = [one for one in report.diagnostics if one.code == "privileges"]
    return tuple(one.hint for one in lacks if one.hint and (further or one.severity == "error"))


def printed(conninfo: str, role: str, *, further: bool = False) -> Grants:
    """Return the statements that ``doctor`` prints for a role of a database."""
    settings = Settings.model_validate(
        {
            "project": {"default_environment": "test"},
            "environments": {"test": {"url": make_conninfo(conninfo, user=role)}},
        }
    )
    report = doctor(settings, settings.profile(None), log_dir=Path("/tmp"), emit=unheard)
    return grants_of(report, further=further)


def granted(conninfo: str, statements: Grants) -> None:
    """Run the statements as an administrator would."""
    if statements:
        with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement))


@pytest.fixture(scope="session")
def least_at(server: Cluster, template_at: TemplateAt) -> LeastAt:
    """Name the place of a role at a revision, filled or empty."""
    make_roles(server)

    @cache
    def place(revision: str, filled: bool, role: str) -> Place:
        source = template_at(revision, filled)
        if role == SUPERUSER:
            return Place(template=source, role=role)
        name = f"{role}_{source}"
        copy_database(server, source, name)
        return placed(server, name, role)

    return place


@pytest.fixture(scope="session")
def empty_place(server: Cluster) -> Place:
    """The place of a worker who is to make an OpsSight from nothing."""
    make_roles(server)
    name = f"{WORKER}_template_of_nothing"
    copy_database(server, "template1", name)
    return placed(server, name, WORKER)


@pytest.fixture
def opened_place(new_database: NewDatabase) -> Callable[[Place], str]:
    """Make a copy of a place, and return the role's way into it."""
    return lambda place: place.opened_in(new_database(place.template))


@pytest.fixture
def database_at(
    request: pytest.FixtureRequest, opened_place: Callable[[Place], str], least_at: LeastAt
) -> DatabaseAt:
    """Make a database at a revision, filled or empty, and return the way in of its role."""

    role = role_of(request)
    return lambda revision, filled=True: opened_place(least_at(revision, filled, role))


@pytest.fixture
def empty_database(opened_place: Callable[[Place], str], empty_place: Place) -> Callable[[], str]:
    """Make a database with nothing in it, and return the worker's way in."""
    return lambda: opened_place(empty_place)
