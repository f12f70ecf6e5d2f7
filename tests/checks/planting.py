"""What tests do with the faults of mutations.toml: plant one, ask every check, read the answer."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import sql

from opssight_migrate.checks import CHECKS
from opssight_migrate.checks.base import CheckContext
from opssight_migrate.engine import checker
from opssight_migrate.engine.checker import Outcome
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.postgres.failures import translated
from opssight_migrate.postgres.session import Session

DATA = Path(__file__).parents[1] / "data"
Mutation = dict[str, Any]
MUTATIONS: list[Mutation] = tomllib.loads((DATA / "mutations.toml").read_text())["mutation"]
ON_TIMESCALEDB = [one for one in MUTATIONS if one.get("on_timescaledb")]


class Inside(Session):
    """A session in a transaction that is rolled back: its snapshots are READ ONLY savepoints."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        with translated(), self.connection.transaction(force_rollback=True):
            self.connection.execute("SET TRANSACTION READ ONLY")
            yield


def outcomes(session: Session) -> Iterator[Outcome]:
    """Ask every check there is."""
    return checker.run_checks(CHECKS, CheckContext(session=session))


def faults(session: Session) -> list[Finding]:
    """Return what all checks together find wrong."""
    return [
        finding
        for outcome in outcomes(session)
        for finding in outcome.findings
        if finding.severity is not Severity.NOTE
    ]


def planted(session: Inside, mutation: Mutation, role: str | None = None) -> list[Finding]:
    """Return what is found, by ``role``, while the fault is there; it is rolled back."""
    with session.connection.transaction(force_rollback=True):
        session.execute(sql.SQL(mutation["sql"]))
        if role is not None:
            work_as(session, role)
        return faults(session)


def work_as(session: Session, role: str) -> None:
    """Have no more rights than ``role`` in the rest of the transaction."""
    session.execute(sql.SQL("SET LOCAL SESSION AUTHORIZATION {}").format(sql.Identifier(role)))


def told(finding: Finding) -> str:
    """Return all that a finding says, in one line."""
    return f"{finding.message} | {finding.where} | {', '.join(finding.keys)}"


def assert_found(mutation: Mutation, found: list[Finding]) -> None:
    """Compare what was found with what the mutation says; nothing else may be."""
    assert {one.check_id for one in found} == set(mutation["finds"]), [
        (one.check_id, told(one)) for one in found
    ]
    for check_id, name in mutation["finds"].items():
        said = [one for one in found if one.check_id == check_id]
        assert any(_names(name, one) for one in said), (name, [told(one) for one in said])
    assert [one for one in found if not one.hint] == []


def _names(wanted: str, finding: Finding) -> bool:
    """Tell whether a finding says it; of a big table it names the range that a key is in."""
    if wanted.isdigit() and any(".." in key for key in finding.keys):
        bounds = [key.partition("..") for key in finding.keys]
        return any(int(lo) <= int(wanted) <= int(hi or lo) for lo, _, hi in bounds)
    return wanted in told(finding)
