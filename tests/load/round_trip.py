"""There and back and there again under load, by hand: ``python tests/load/round_trip.py``.

On a million rows: migrate, write as the new release does, roll back to the start, write as the old
one does, migrate again, while the old release's load never stops. Each row is accounted for. Then
what a rollback costs from 100 thousand to 3 million rows. Ends with 1 if anything is not so.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psycopg  # noqa: E402
from psycopg import sql  # noqa: E402
from tests.chain.looks import catalogue_text, golden_text, without_shims  # noqa: E402
from tests.least import Place  # noqa: E402
from tests.load import show  # noqa: E402
from tests.load.traffic import Traffic  # noqa: E402

from opssight_migrate.commands.rollback import RollbackRequest, rollback  # noqa: E402
from opssight_migrate.model.events import unheard  # noqa: E402
from opssight_migrate.model.report import Report  # noqa: E402
from opssight_migrate.opssight import sample  # noqa: E402
from opssight_migrate.opssight.revisions import START, TARGET  # noqa: E402
from opssight_migrate.opssight.tables import TENANT_TABLES  # noqa: E402
from opssight_migrate.postgres import archive, digest  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402
from opssight_migrate.postgres.session import Session  # noqa: E402

ALLOWED_WAL_BYTES = 2 * 1024**2
ALLOWED_LOCK_MS = 50

_ORGANIZATIONS = ROOT / "tests" / "data" / "organizations.sql"
# What the new release writes where the old one has no table.
_NEW_ROWS: tuple[LiteralString, ...] = (
    """
    INSERT INTO metrics (organization_id, timestamp, metric_name, metric_type, source, value,
           is_interpolated, created_at, updated_at)
    SELECT 501 + n % 2, now(), 'm' || n, 'gauge', 'custom', n, false, now(), now()
      FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO log_entries (organization_id, timestamp, log_level, source, message, created_at)
    SELECT 501 + n % 2, now(), 'info', 'application', 'line ' || n, now()
      FROM generate_series(1, 2000) AS n
    """,
    """
    INSERT INTO audit_logs (audit_id, operation, table_name, timestamp, severity, organization_id)
    SELECT gen_random_uuid(), 'LOGIN', 'users', now(), 'LOW', 501 + n % 2
      FROM generate_series(1, 500) AS n
    """,
)
_TWO_ORGANIZATIONS = """
INSERT INTO organizations (id, name, slug, timezone, currency, date_format, is_active, is_verified,
       subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
SELECT o, 'Org ' || o, 'org-' || o, 'UTC', 'USD', 'YYYY-MM-DD', true, true, 'pro', 9, 9, 9, 9
  FROM unnest(ARRAY[501, 502]) AS o
"""
_SOME_MOVE = """
UPDATE teams SET organization_id = 501
 WHERE id IN (SELECT id FROM teams ORDER BY id DESC LIMIT 20)
"""
_FAR_KEYS = {
    b"o * 1000": b"o * 20000",
    b"501001": b"10020001",
    b"502003": b"10040003",
    b"503000": b"10100000",
}
_HIGHEST = sql.SQL("SELECT coalesce(max({}), 0) FROM {}")
_ROWS = sql.SQL(
    "SELECT count(*), coalesce(sum(hashtextextended({}::text, 0)), 0)::text FROM {} AS t"
    " WHERE {} <= %s"
)
_OF_OTHERS = sql.SQL(
    "SELECT id, organization_id FROM {} WHERE organization_id IN (501, 502) ORDER BY 1"
)
_THERE = sql.SQL("SELECT count(*) FROM {} WHERE id = ANY (%s)")
_WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"

Found = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of one table up to a key, at one moment: ``whole``, or their keys alone."""

    table: str
    key: str
    highest: int
    whole: bool
    rows: Found


@dataclass(frozen=True, kw_only=True)
class Trip:
    """What became of it. ``wrong`` says what is not as it has to be; empty is well."""

    rows_before: int
    seconds: dict[str, float]
    traffic: Traffic
    archived: dict[str, int]
    written: dict[str, int]
    wrong: tuple[str, ...]

    def text(self) -> str:
        """Return the report."""
        took = ", ".join(f"{what} {s:.1f} s" for what, s in self.seconds.items())
        archived = ", ".join(f"{name} {rows:,}" for name, rows in self.archived.items())
        written = ", ".join(f"{name} {rows:,}" for name, rows in self.written.items())
        worst = self.traffic.latencies().worst_ms
        return "\n".join(
            [
                f"{self.rows_before:,} rows before; {took}",
                f"the old release wrote meanwhile: {written}",
                f"archived by the rollback: {archived}",
                f"{len(self.traffic.statements):,} statements of the load,"
                f" {len(self.traffic.failed)} failed, the worst waited {worst:.0f} ms",
                *(f"WRONG: {one}" for one in self.wrong),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one rollback took, with nobody else writing."""

    rows: int
    seconds: float
    wal_bytes: int
    longest_lock_ms: int
    all_locks_ms: int

    def text(self) -> str:
        """Return one line of the report."""
        return (
            f"{self.rows:>9,} rows: {self.seconds:5.1f} s, WAL {self.wal_bytes / 1e6:5.2f} MB,"
            f" strong locks: longest {self.longest_lock_ms} ms, together {self.all_locks_ms} ms"
        )


def made(cluster: Cluster, template: Place, *, writes_s: float) -> Trip:
    """Carry out the round trip on a copy of ``template``, with ``writes_s`` between its parts."""
    seconds: dict[str, float] = {}
    wrong: list[str] = []

    def take(what: str, work: Callable[[], Report]) -> None:
        began = time.monotonic()
        report = work()
        seconds[what] = time.monotonic() - began
        if (report.exit_code, report.status) != (0, "ok"):
            said = "; ".join(one.message for one in report.diagnostics[:3])
            wrong.append(f"{what} ended with {report.exit_code} ({report.status}): {said}")

    with show.copied(cluster, template) as conninfo, _session(conninfo) as session:
        before = _kept(session, digest.columns_by_table(session), whole=False)
        start = catalogue_text(session)
        with show.load_on(conninfo, seconds=show.LONGEST_S) as drive:
            time.sleep(writes_s)
            take("migrate", lambda: show.migrate(conninfo))
            _write(session, *_NEW_ROWS, before=_organizations())
            known = {one.table for one in before}
            tables = digest.columns_by_table(session).items()
            new = _kept(session, {t: c for t, c in tables if t not in known}, whole=True)
            others = _of_others(session)
            there = without_shims(session)
            time.sleep(writes_s)
            take("rollback", lambda: back(conninfo))
            archived, lacking = _archived(session, new)
            wrong += lacking
            if catalogue_text(session) != start:
                wrong.append("after the rollback the catalogue is not that of before")
            time.sleep(writes_s)
            take("migrate again", lambda: show.migrate(conninfo))
            time.sleep(writes_s)
            traffic = drive.end()
        if without_shims(session) != there or there[0] != golden_text(TARGET):
            wrong.append("after the second migration the catalogue is not that of the first")
        wrong += _lost(session, [*before, *new])
        if _of_others(session) != others:
            wrong.append("rows of other organizations have not come back to them")
        wrong += [
            f"{table}: a row that was acknowledged is gone"
            for table, ids in traffic.written.items()
            if _count(session, table, ids) != len(set(ids))
        ]
        wrong += [f"a statement of the load failed: {one.error}" for one in traffic.failed[:3]]
    return Trip(
        rows_before=sum(one.rows[0] for one in before),
        seconds=seconds,
        traffic=traffic,
        archived=archived,
        written={table: len(ids) for table, ids in traffic.written.items()},
        wrong=tuple(wrong),
    )


def cost(cluster: Cluster, template: Place) -> Cost:
    """Migrate a copy of ``template`` and measure the way back, while the shims stand."""
    with show.copied(cluster, template) as conninfo, _session(conninfo) as session:
        tables = digest.columns_by_table(session)
        rows = sum(one.rows[0] for one in _kept(session, tables, whole=False))
        report = show.migrate(conninfo)
        assert report.exit_code == 0, report.diagnostics
        _write(session, _TWO_ORGANIZATIONS, *_NEW_ROWS, _SOME_MOVE)
        session.execute("VACUUM ANALYZE")
        session.execute("CHECKPOINT")
        wal, began = session.scalar(_WAL), time.monotonic()
        report = back(conninfo)
        seconds, wal = time.monotonic() - began, session.scalar(_WAL) - wal
        assert report.exit_code == 0, report.diagnostics
        held = [lock.held_ms for step in report.steps for lock in step.locks]
    return Cost(
        rows=rows,
        seconds=seconds,
        wal_bytes=int(wal),
        longest_lock_ms=max(held),
        all_locks_ms=sum(held),
    )


def again_where_growing(cluster: Cluster, template: Place, costs: list[Cost]) -> list[Cost]:
    """Measure the biggest up to twice more while it seems to grow: the machine may be busy."""
    for _ in range(2):
        if not growing(costs):
            break
        second = cost(cluster, template)
        print(f"again: {second.text()}", flush=True)  # noqa: T201
        costs = [*costs[:-1], min(costs[-1], second, key=lambda one: one.longest_lock_ms)]
    return costs


def growing(costs: Sequence[Cost]) -> list[str]:
    """Say what grows with the rows; the first is the smallest database."""
    least, most = costs[0], costs[-1]
    found: list[str] = []
    if most.wal_bytes > least.wal_bytes * 1.5 + ALLOWED_WAL_BYTES:
        found.append(f"WAL grows: {least.wal_bytes:,} -> {most.wal_bytes:,} bytes")
    if most.longest_lock_ms > max(ALLOWED_LOCK_MS, 3 * least.longest_lock_ms):
        found.append(f"locks grow: {least.longest_lock_ms} -> {most.longest_lock_ms} ms")
    return found


def back(conninfo: str) -> Report:
    """Roll the database of ``conninfo`` back to the start."""
    settings = show.settings_for(conninfo)
    return rollback(
        settings,
        settings.profile(None),
        RollbackRequest(to_revision=START),
        confirm=lambda plan, is_copy: None,  # noqa: ARG005
        emit=unheard,
    )


@contextmanager
def _session(conninfo: str) -> Iterator[Session]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        yield session


def _organizations() -> bytes:
    """Return the rows of the new release, with keys that no sample of any size reaches."""
    text = _ORGANIZATIONS.read_bytes()
    for small, big in _FAR_KEYS.items():
        text = text.replace(small, big)
    return text


def _write(session: Session, *statements: LiteralString, before: bytes = b"") -> None:
    with session.writing():
        session.connection.execute(before)
        for statement in statements:
            session.execute(statement)


def _kept(session: Session, tables: Mapping[str, Sequence[str]], *, whole: bool) -> list[Kept]:
    found: list[Kept] = []
    for table, columns in tables.items():
        # Two tables have pairs for keys; the load writes to neither.
        key = "id" if "id" in columns else columns[0]
        query = _HIGHEST.format(sql.Identifier(key), sql.Identifier("public", table))
        one = Kept(table, key, int(session.scalar(query)), whole or key != "id", (0, ""))
        found.append(replace(one, rows=_found(session, "public", one)))
    return found


def _found(session: Session, schema: str, kept: Kept) -> Found:
    value = sql.Identifier("t") if kept.whole else sql.Identifier("t", kept.key)
    query = _ROWS.format(value, sql.Identifier(schema, kept.table), sql.Identifier(kept.key))
    rows, hashed = session.rows(query, (kept.highest,))[0]
    return int(rows), str(hashed)


def _archived(session: Session, new: Iterable[Kept]) -> tuple[dict[str, int], list[str]]:
    """Look for the rows of tables that went in the archive's list of its contents."""
    listed = {one.name: one for one in archive.entries(session) if one.kind == "table"}
    found: dict[str, int] = {}
    wrong: list[str] = []
    for kept in new:
        entry = listed.get(kept.table)
        if entry is None:
            wrong += [f"{kept.table} has rows and is in no archive"] if kept.rows[0] else []
        elif _found(session, entry.schema, kept) != kept.rows:
            wrong.append(f"{kept.table}: what is archived is not what was there")
        else:
            found[kept.table] = kept.rows[0]
    return found, wrong


def _lost(session: Session, kept: Iterable[Kept]) -> list[str]:
    return [
        f"{one.table}: {now[0]:,} of {one.rows[0]:,} rows, or others"
        for one in kept
        if (now := _found(session, "public", one)) != one.rows
    ]


def _of_others(session: Session) -> dict[str, list[Any]]:
    """Return the rows of the new organizations in the tables that the old release knows."""
    return {
        table: session.rows(_OF_OTHERS.format(sql.Identifier("public", table)))
        for table in sorted(TENANT_TABLES)
    }


def _count(session: Session, table: str, ids: Sequence[int]) -> int:
    query = _THERE.format(sql.Identifier("public", table))
    return int(session.scalar(query, (list(ids),)))


def main() -> int:
    """Fill a server of our own, make the trip and the rollbacks of each size, and print all."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--rows", type=int, default=1_000_000, help="rows of the round trip; 0 makes none"
    )
    asked.add_argument(
        "--sizes", type=int, nargs="*", default=[100_000, 1_000_000, 3_000_000], help="of rollbacks"
    )
    asked.add_argument("--bin-dir", type=Path, default=None, help="another PostgreSQL's programs")
    given = asked.parse_args()
    home = Path(tempfile.mkdtemp(prefix="opssight-trip-", dir="/tmp"))
    usual = sum(sample.USUAL.by_table().values())
    wrong: list[str] = []
    try:
        with Cluster(
            home, given.bin_dir or wheel_bin_dir(), durable=False, settings=show.SETTINGS
        ) as cluster:
            print(f"PostgreSQL {cluster.version}")  # noqa: T201
            if given.rows:
                trip = made(cluster, show.filled(cluster, "trip", given.rows / usual), writes_s=5.0)
                wrong += trip.wrong
                print(trip.text(), flush=True)  # noqa: T201
            costs: list[Cost] = []
            for rows in sorted(given.sizes):
                template = show.filled(cluster, f"rows_{rows}", rows / usual)
                costs.append(cost(cluster, template))
                print(costs[-1].text(), flush=True)  # noqa: T201
                if rows == max(given.sizes):
                    costs = again_where_growing(cluster, template, costs)
                    wrong += growing(costs)
    finally:
        shutil.rmtree(home)
    print("\n".join(wrong) or "every row is accounted for, and nothing grows")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
