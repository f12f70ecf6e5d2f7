"""How the tests of commands run them, and how they see that nothing was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql
from tests.least import as_superuser

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import Event, unheard
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.golden import Catalogue
from opssight_migrate.postgres import digest, extras, reader
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

_RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text, c.relfilenode::int8,
       pg_get_userbyid(c.relowner)::text, c.relacl::text
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^(pg_|information_schema)'
 ORDER BY 1, 2
"""
_SCHEMAS = "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1"


@pytest.fixture
def joined() -> Iterator[Callable[[str], Session]]:
    """Open prepared sessions of whoever a conninfo names, such as a client of the database."""
    with ExitStack() as stack:

        def open_one(conninfo: str) -> Session:
            prepared = Session(psycopg.connect(conninfo, autocommit=True))
            stack.callback(prepared.close)
            prepared.prepare()
            return prepared

        yield open_one


@pytest.fixture
def opened(joined: Callable[[str], Session]) -> Callable[[str], Session]:
    """Open prepared sessions of the superuser, who sets the scene and looks at everything."""
    return lambda conninfo: joined(as_superuser(conninfo))


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All there is in a database, to be compared: schemas, objects, owners, grants, rows."""

    schemas: tuple[str, ...]
    relations: tuple[tuple[object, ...], ...]
    catalogue: Catalogue
    extras: tuple[str, ...]
    rows: dict[str, tuple[int, str]]


def everything(session: Session) -> Everything:
    """Read all there is; rows as digests, those of alembic_version and the journal too."""
    relations = tuple(session.rows(_RELATIONS))
    rows = {
        name: (one.rows, one.value)
        for name, one in digest.digest_database(session, digest.columns_by_table(session)).items()
    }
    for schema, name, kind, *_ in relations:
        if kind == "r" and (schema, name) not in {("public", table) for table in rows}:
            query = sql.SQL(
                "SELECT count(*), coalesce(md5(string_agg(t::text, ' ' ORDER BY t::text)), '')"
                " FROM {} AS t"
            ).format(sql.Identifier(str(schema), str(name)))
            rows[f"{schema}.{name}"] = session.rows(query)[0][:2]
    return Everything(
        schemas=tuple(name for (name,) in session.rows(_SCHEMAS)),
        relations=relations,
        catalogue=reader.read_catalogue(session),
        extras=tuple(f"{extra} {extra.detail}" for extra in extras.read_extras(session)),
        rows=rows,
    )


@dataclass(slots=True)
class Asked:
    """Answers yes to every plan, and remembers what was asked."""

    plans: list[Plan] = field(default_factory=list[Plan])
    copies: list[bool] = field(default_factory=list[bool])

    def __call__(self, plan: Plan, is_copy: bool) -> None:
        self.plans.append(plan)
        self.copies.append(is_copy)


def run(
    settings: Settings,
    request: MigrateRequest | None = None,
    *,
    asked: Asked | None = None,
    events: list[Event] | None = None,
) -> Report:
    """Run ``migrate`` on the default environment and say yes."""
    return migrate(
        settings,
        settings.profile(None),
        request or MigrateRequest(),
        confirm=asked or Asked(),
        emit=unheard if events is None else events.append,
    )


def error_of(report: Report) -> tuple[str | None, str]:
    """Return code and message of the error that ended a command."""
    found = [one for one in report.diagnostics if one.severity == "error"]
    assert len(found) == 1, report.diagnostics
    return found[0].code, found[0].message
