"""How fast the batched steps are, against one statement and at several sizes.

``python tests/benchmarks/rates.py`` measures 100 thousand to 3 million users and takes about ten
minutes. Each rate is of a whole ``migrate`` with its governor, from the first batch to the last.
Beside it, in a copy of the same database, one statement does the same rows in one transaction: a
twentieth of them, then the batches theirs, in turns, so that whatever else the machine does at
this moment slows both. Sizes take turns too, and a rate is compared with that of the smallest size
in the same turn. Ends with 1 when one leaves its bounds. A step that does gets more turns at all
its sizes, up to ``--turns``; medians count.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psutil  # noqa: E402
import psycopg  # noqa: E402
from psycopg import sql  # noqa: E402
from tests.homes import new_home  # noqa: E402

from opssight_migrate.commands.migrate import MigrateRequest, migrate  # noqa: E402
from opssight_migrate.model.events import BatchDone, Event  # noqa: E402
from opssight_migrate.model.plan import Plan  # noqa: E402
from opssight_migrate.opssight.revisions import MULTI_TENANCY, RBAC, START  # noqa: E402
from opssight_migrate.opssight.tables import TENANT_TABLES  # noqa: E402
from opssight_migrate.postgres import chain, connect  # noqa: E402
from opssight_migrate.postgres.cluster import Cluster  # noqa: E402
from opssight_migrate.postgres.embedded import wheel_bin_dir  # noqa: E402
from opssight_migrate.postgres.session import Session  # noqa: E402
from opssight_migrate.settings import Settings  # noqa: E402
from opssight_migrate.steps.assign_roles import AssignRoles  # noqa: E402
from opssight_migrate.steps.base import BatchedStep, StepContext  # noqa: E402
from opssight_migrate.steps.settle_organizations import SettleOrganizations  # noqa: E402

FLAT_WITHIN = 0.15
LEAST_OF_ONE_STATEMENT = 0.85
MOST_MEMORY_BYTES = 150 << 20

_SERVER = {
    "shared_buffers": "512MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
_USERS = """
INSERT INTO users (github_id, github_username, email, full_name, is_active, is_superuser)
SELECT 'g' || n, 'user' || n, 'user' || n || '@example.org', 'User ' || n, true, false
  FROM generate_series(1, %s) AS n
"""
_COPY = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
_LEAST_TURNS = 2
_SLICES = 20
_STEPS: dict[str, tuple[type[BatchedStep], str, str]] = {
    # step: its class, where its database is, and where its run goes
    "assign-roles": (AssignRoles, START, RBAC),
    "settle-organizations": (SettleOrganizations, MULTI_TENANCY, MULTI_TENANCY),
}


@dataclass(slots=True, kw_only=True)
class Rate:
    """One step at one size: rows a second in batches, and as one statement, turn by turn."""

    step: str
    rows: int
    batched: list[float] = field(default_factory=list[float])
    one_statement: list[float] = field(default_factory=list[float])
    memory_bytes: int = 0

    @property
    def share(self) -> float:
        """The batches' rate as a share of one statement's, each turn for itself."""
        return _median_share(self.batched, self.one_statement)

    def share_of(self, smallest: Rate) -> float:
        """The batches' rate as a share of theirs at another size, each turn for itself."""
        return _median_share(self.batched, smallest.batched)


def faults(rates: list[Rate]) -> list[str]:
    """Name every bound that these rates leave; empty when all is well."""
    found = [
        f"{rate.step} at {rate.rows:,} rows: {rate.share:.2f} of one statement's rate"
        for rate in rates
        if rate.share < LEAST_OF_ONE_STATEMENT
    ]
    for step in _STEPS:
        of_step = [rate for rate in rates if rate.step == step]
        # Getting faster with the size would be no fault; falling off is.
        found += [
            f"{step}: falls to {rate.share_of(of_step[0]):.2f} at {rate.rows:,} rows"
            for rate in of_step[1:]
            if rate.share_of(of_step[0]) < 1 - FLAT_WITHIN
        ]
    found += [
        f"{rate.step} at {rate.rows:,} rows: {rate.memory_bytes >> 20} MB of memory"
        for rate in rates
        if rate.memory_bytes > MOST_MEMORY_BYTES
    ]
    return found


def _median_share(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def measured(cluster: Cluster, step: str, sizes: list[int], most_turns: int) -> list[Rate]:
    """Measure one step at each size until it keeps its bounds, ``most_turns`` times at most."""
    rates = [Rate(step=step, rows=rows) for rows in sizes]
    for turn in range(most_turns):
        if turn >= _LEAST_TURNS and not faults(rates):
            break
        for rate in rates:
            _take_turn(cluster, rate)
    return rates


def _take_turn(cluster: Cluster, rate: Rate) -> None:
    """Measure both ways on databases that are equal at the beginning."""
    with _database(cluster, rate, "rates") as conninfo, _database(cluster, rate, "beside") as copy:
        one_statement = _OneStatement(copy, rate.step)
        batched_s = _in_batches(conninfo, rate, one_statement)
        one_statement.session.close()
    rate.batched.append(rate.rows / batched_s)
    rate.one_statement.append(rate.rows / one_statement.elapsed_s)
    rate.memory_bytes = int(psutil.Process().memory_info().rss)


@contextmanager
def _database(cluster: Cluster, rate: Rate, name: str) -> Iterator[str]:
    """A copy of the database of this step and size, which is filled once."""
    filled = f"filled_{rate.step}_{rate.rows}"
    with psycopg.connect(cluster.conninfo("postgres"), autocommit=True) as maintenance:
        known = maintenance.execute("SELECT FROM pg_database WHERE datname = %s", (filled,))
        if known.fetchone() is None:
            maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(filled)))
            session = connect.opened(cluster.conninfo(filled), application_name="rates")
            _fill(session, rate.step, rate.rows)
            session.close()
        copy = sql.Identifier(name)
        maintenance.execute(_COPY.format(copy, sql.Identifier(filled)))
        try:
            maintenance.execute("CHECKPOINT")
            yield cluster.conninfo(name)
        finally:
            maintenance.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copy))


def _fill(session: Session, step: str, rows: int) -> None:
    _, revision, _ = _STEPS[step]
    chain.upgrade(chain.Drive(session=session), revision)
    if step == "settle-organizations":
        for table in TENANT_TABLES:
            session.execute(
                sql.SQL("ALTER TABLE {} ALTER organization_id DROP NOT NULL").format(
                    sql.Identifier(table)
                )
            )
    session.execute(_USERS, (rows,))
    session.execute("VACUUM (ANALYZE) users")


class _OneStatement:
    """The obvious way, in a database of its own: one statement and transaction for many rows."""

    def __init__(self, conninfo: str, step: str) -> None:
        kind, _, revision = _STEPS[step]
        self.session = connect.opened(conninfo, application_name="rates")
        drive = chain.Drive(session=self.session)
        chain.upgrade(drive, revision)
        profile = _settings(conninfo).profile(None)
        ctx = StepContext(session=self.session, profile=profile, drive=drive)
        work = kind()
        work.prepare(ctx)
        self._way = next(way for way in work.walks(ctx) if way.table == "users")
        self._after: str | None = None
        self.elapsed_s = 0.0

    def does(self, rows: int) -> None:
        """Do that many rows, and no other number."""
        began = time.monotonic()
        with self.session.writing():
            values = {**self._way.parameters, "after": self._after, "limit": rows}
            done = self.session.row(self._way.batch_sql, values)
        self.elapsed_s += time.monotonic() - began
        if done is None or int(done[1]) != rows:
            raise RuntimeError(f"did {done} and not {rows} rows")
        self._after = str(done[0])


def _in_batches(conninfo: str, rate: Rate, one_statement: _OneStatement) -> float:
    """Migrate, let the one statement do a slice after each, and return our own seconds."""
    _, _, revision = _STEPS[rate.step]
    batches: list[tuple[float, BatchDone]] = []
    beside_rows = 0

    def hear(event: Event) -> None:
        nonlocal beside_rows
        if not isinstance(event, BatchDone) or (event.step_id, event.table) != (rate.step, "users"):
            return
        batches.append((time.monotonic() - one_statement.elapsed_s, event))
        ours = event.rows_done
        if ours == rate.rows or ours - beside_rows >= rate.rows // _SLICES:
            one_statement.does(ours - beside_rows)
            beside_rows = ours

    settings = _settings(conninfo)
    report = migrate(
        settings,
        settings.profile(None),
        MigrateRequest(to=revision),
        confirm=_agree,
        emit=hear,
    )
    if report.exit_code != 0 or batches[-1][1].rows_done != rate.rows:
        raise RuntimeError(f"{rate.step} did not do its {rate.rows} rows: {report.diagnostics}")
    (first_at, first), (last_at, _) = batches[0], batches[-1]
    return last_at - first_at + first.elapsed_s


def _settings(conninfo: str) -> Settings:
    return Settings.model_validate(
        {
            "project": {"default_environment": "rates"},
            "environments": {"rates": {"url": conninfo}},
            "old_release": {"rehearse": False},
        }
    )


def _agree(plan: Plan, is_copy: bool) -> None:
    del plan, is_copy


def _run(sizes: list[int], turns: int) -> list[Rate]:
    home = new_home("rates")
    try:
        with Cluster(home, wheel_bin_dir(), durable=False, settings=_SERVER) as cluster:
            return [rate for step in _STEPS for rate in measured(cluster, step, sizes, turns)]
    finally:
        shutil.rmtree(home)


def main() -> int:
    """Measure, and print a table or, with --json, what it is made of."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 3_000_000])
    asked.add_argument("--turns", type=int, default=6, help="at most")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    rates = _run(sorted(given.rows), given.turns)
    wrong = faults(rates)
    if given.json:
        print(json.dumps({"rates": [asdict(rate) for rate in rates], "faults": wrong}))  # noqa: T201
        return 1 if wrong else 0
    for rate in rates:
        print(  # noqa: T201
            f"{rate.step:22} {rate.rows:>10,} rows  {max(rate.batched):>9,.0f} rows/s in batches"
            f"  {max(rate.one_statement):>9,.0f} in one statement  {rate.share:.2f}"
            f"  {rate.memory_bytes >> 20} MB  {len(rate.batched)} turns"
        )
    print(*wrong or ["all within their bounds"], sep="\n")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
