"""What the tests of the chain compare: catalogues with and without shims, rows by their xmin."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from psycopg import sql

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.model.events import Event
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight import revisions, shims
from opssight_migrate.opssight.golden import Catalogue, as_json
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.opssight.shims import DefaultShim, UniqueShim
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import catalog, digest, reader
from opssight_migrate.postgres.digest import TableDigest
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

DATA = Path(__file__).parent.parent / "data"
IDS = [revision.id for revision in REVISIONS]
BEFORE = {later: earlier for earlier, later in pairwise(IDS)}
SHIMS: tuple[DefaultShim | UniqueShim, ...] = (*shims.DEFAULTS, *shims.ONCE_UNIQUE)

_TABLES_IN = """
SELECT c.relname::text FROM pg_class AS c
 WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind IN ('r', 'p') ORDER BY 1
"""
# An update, a delete with an insert, or a rewrite gives a row another xmin or another place.
_VERSIONS = """
SELECT count(*), coalesce(md5(string_agg(concat_ws('/', t.ctid, t.xmin), ',' ORDER BY t.ctid)), '')
  FROM {} AS t
"""


def golden_text(revision: str) -> str:
    """Return the published catalogue of a revision, byte for byte."""
    return (DATA / f"schema_{revision}.json").read_text(encoding="utf-8")


def catalogue_of(session: Session) -> Catalogue:
    """Read the catalogue in one snapshot."""
    with session.reading():
        return reader.read_catalogue(session)


def catalogue_text(session: Session) -> str:
    """Read the catalogue as the published files spell it."""
    return as_json(catalogue_of(session))


def without_shims(session: Session) -> tuple[str, set[str]]:
    """Return the catalogue as if the shims were removed, and the names of those that stood."""
    found: set[str] = set()
    actual = catalogue_of(session)
    for shim in shims.DEFAULTS:
        for column in actual["tables"][shim.table]["columns"]:
            if column["name"] == shim.column and column["default"] is not None:
                found.add(shim.name)
                column["default"] = None
    for unique in shims.ONCE_UNIQUE:
        table = actual["tables"][unique.table]
        kept = [index for index in table["indexes"] if index["name"] != unique.index]
        if len(kept) < len(table["indexes"]):
            found.add(unique.name)
            actual["counts"]["indexes"] -= 1
            table["indexes"] = kept
    return as_json(actual), found


def shims_up_to(revision: str) -> set[str]:
    """Return the names of the shims that the revisions up to this one declare."""
    return {shim.name for shim in SHIMS if revisions.is_at_least(revision, shim.revision)}


def versions(session: Session, schema: str = "public") -> dict[str, tuple[int, str]]:
    """Return the rows of every table of a schema, and which version of each row stands there."""
    names = [name for (name,) in session.rows(_TABLES_IN, (schema,))]
    return {name: versions_of(session, name, schema) for name in names}


def versions_of(session: Session, table: str, schema: str = "public") -> tuple[int, str]:
    """Return the number of rows of a table, and a sum over the versions of them."""
    rows = session.rows(sql.SQL(_VERSIONS).format(sql.Identifier(schema, table)))
    count, versions = rows[0]
    return int(count), str(versions)


def filenodes(session: Session) -> dict[str, int | None]:
    """Return the file of each of the 22 tables; a rewrite changes it."""
    return {table: catalog.filenode_of(session, table) for table in TABLES_AT_START}


def digests(
    session: Session, columns: dict[str, tuple[str, ...]] | None = None
) -> dict[str, TableDigest]:
    """Digest the 22 tables over these columns, or over all that they have now."""
    with session.reading():
        wanted = columns or digest.columns_by_table(session, TABLES_AT_START)
        return digest.digest_database(session, wanted)


def run_migrate(settings: Settings, to: str | None = None) -> tuple[Report, list[Event]]:
    """Run ``migrate`` on the default environment, confirmed by everybody."""
    events: list[Event] = []

    def agreed(plan: Plan, is_copy: bool) -> None:
        assert not is_copy

    profile = settings.profile(None)
    request = MigrateRequest(to=to)
    report = migrate(settings, profile, request, confirm=agreed, emit=events.append)
    return report, events


def nobody_is_asked(plan: Plan, is_copy: bool) -> NoReturn:
    """Confirm nothing: there must be nothing to confirm."""
    raise AssertionError("a run without anything to do asks nobody")
