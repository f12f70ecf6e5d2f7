"""The rehearsal of a rollback: to the start and forward again, in a scratch database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from opssight_migrate.backups import comparison, scratch, structure, verification
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.checks.base import NotAskableError
from opssight_migrate.commands import identities, safety, wiring
from opssight_migrate.commands.identities import AskPassphrase
from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.commands.rollback import RollbackRequest, rollback
from opssight_migrate.engine import preflight, round_trip
from opssight_migrate.engine.retreat import retreat
from opssight_migrate.engine.round_trip import State
from opssight_migrate.model.errors import (
    EmbeddedServerError,
    ExitCode,
    InterruptedRunError,
    MigrateError,
    NotProvenError,
)
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Finding, LossKind, Plan, Severity
from opssight_migrate.model.report import Report
from opssight_migrate.opssight import revisions
from opssight_migrate.postgres import connect, embedded, properties, siblings
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings

_APPLICATION = "opssight-migrate/way-back"
_MOST_ROWS = 1_000
# A replica that lags, or somebody's lock, does not hold a rehearsal up for half an hour.
_PATIENCE = timedelta(minutes=1)
_NOT_NOW = (ExitCode.BUSY, ExitCode.REFUSED, ExitCode.CONNECT)
_STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """Goes back and forth in a scratch database, which is gone at the end however it ends.

    It holds what ``backup`` restores (opened with ``identities``), or, where that is None, the
    structure of the database and a sample of its rows with all that they point at.
    """

    settings: Settings
    profile: Profile
    backup: Shelved | None = None
    identities: Sequence[Any] = ()

    def __call__(self, session: Session, check_id: str) -> Iterable[Finding]:
        """Rehearse, and say what came out otherwise than it went in.

        Raises: NotAskableError where it may not, or cannot, be rehearsed; BackupError, if what
        was restored is not what the backup's manifest says.
        """
        try:
            plan = self._planned(session)
            with _scratch(session) as (host, database, place):
                what = self._fill(session, host, database)
                found = list(self._there_and_back(host, database, plan, check_id))
        except (InterruptedRunError, NotProvenError):
            raise
        except MigrateError as error:
            hint = f" (help: {error.hint})" if error.hint else ""
            raise NotAskableError(f"not rehearsed: {error.message}{hint}") from error
        message = f"rehearsed with {what} in a scratch database on {place}: back to"
        message += f" {revisions.START} and forward again"
        note = Finding(check_id=check_id, severity=Severity.NOTE, message=message)
        return [*found, note]

    def _planned(self, session: Session) -> Plan:
        """Ask of the database itself, with all its rows, whether a rollback would begin."""
        plan = retreat(wiring.looking(session, self.profile, unheard), revisions.START).plan
        if refusal := preflight.refusal(plan.blockers):
            message = f"a rollback to {revisions.START} would be refused: {refusal.message}"
            raise NotAskableError(message)
        return plan

    def _fill(self, session: Session, host: Session, database: str) -> str:
        target = siblings.sibling(host, database, _APPLICATION)
        try:
            structure.hurry(target)
            if self.backup is None:
                rows = structure.copy_with_sample(session, target, most_rows=_MOST_ROWS)
                return f"{rows:,} sampled rows"
        finally:
            target.close()
        verification.restore_into(self.backup, self.identities, host, database, as_owner=False)
        comparison.refuse_differences(host, database, self.backup.manifest.tables)
        return f"all rows of {self.backup.path.name}"

    def _there_and_back(
        self, host: Session, database: str, plan: Plan, check_id: str
    ) -> Iterator[Finding]:
        profile = self._profile_of(siblings.conninfo(host, database))
        yes = _agree
        look = siblings.sibling(host, database, _APPLICATION)
        try:
            if self.backup is not None:  # it may be from before the migration
                there = MigrateRequest(to=plan.revision_from)
                got = migrate(self.settings, profile, there, confirm=yes, emit=unheard)
                if failed := _failure(got, "the migration of the backup", check_id):
                    yield failed
                    return
            before = round_trip.read(look)
            back = RollbackRequest(to_revision=revisions.START)
            went = rollback(self.settings, profile, back, confirm=yes, emit=unheard)
            if failed := _failure(went, "the rollback", check_id, may_refuse=True):
                yield failed
                return
            forth = MigrateRequest(to=before.revision)
            came = migrate(self.settings, profile, forth, confirm=yes, emit=unheard)
            if failed := _failure(came, "the way forward again", check_id):
                yield failed
                return
            yield from _compared(before, round_trip.read(look, like=before), plan, check_id)
        finally:
            look.close()

    def _profile_of(self, conninfo: str) -> Profile:
        return replace(
            self.profile,
            url=SecretStr(conninfo),
            url_env=None,
            service=None,
            password_command=None,
            protected=False,
            operators=(),
            on_failure="stop",
            lock_budget=_PATIENCE,
            governor=self.profile.governor.model_copy(update={"budget": _PATIENCE}),
            old_release=self.profile.old_release.model_copy(update={"rehearse": False}),
            backups=replace(self.profile.backups, policy="never"),
        )


def from_backup(
    settings: Settings, profile: Profile, identity: Path | None, ask: AskPassphrase | None
) -> WayBack:
    """Return the rehearsal with the newest backup of the environment, looked at and openable.

    Raises: BackupError and its kin, ConfigError.
    """
    backup = safety.newest(profile)
    verification.check_file(backup, profile.backups.manifest_key)
    keys = identities.given(profile, identity, ask)(backup)
    verification.check_key(backup, keys)
    return WayBack(settings=settings, profile=profile, backup=backup, identities=keys)


@contextmanager
def _scratch(session: Session) -> Iterator[tuple[Session, str, str]]:
    """Lend a database on the same server where this role may make one, else on the embedded."""
    if scratch.is_possible(session) and not connect.is_standby(session):
        with scratch.scratch(session, properties.read_properties(session)) as database:
            yield session, database, "the same server"
        return
    with _embedded_server() as cluster:
        host = connect.opened(cluster.conninfo(siblings.MAINTENANCE), application_name=_APPLICATION)
        try:
            with scratch.scratch(host, properties.read_properties(host)) as database:
                yield host, database, "the embedded server"
        finally:
            host.close()


def _embedded_server() -> Cluster:
    try:
        return embedded.default_cluster()
    except EmbeddedServerError as error:
        why = f"this role may not create a database (CREATEDB), and {error.message}"
        raise EmbeddedServerError(why, hint=error.hint) from error


def _agree(plan: Plan, is_copy: bool) -> None:
    """Nobody is asked: it is a scratch database."""
    del plan, is_copy


def _failure(
    report: Report, what: str, check_id: str, *, may_refuse: bool = False
) -> Finding | None:
    if not report.exit_code:
        return None
    error = next((one for one in report.diagnostics if one.severity == "error"), None)
    message = error.message if error else f"it ended with exit code {report.exit_code}"
    if report.exit_code in _STOPPED:
        raise InterruptedRunError(message)
    if report.exit_code == ExitCode.BUSY or (may_refuse and report.exit_code in _NOT_NOW):
        raise NotAskableError(f"not rehearsed: {message}")
    return Finding(
        check_id=check_id,
        severity=Severity.FAIL,
        message=f"{what} fails: {message}",
        where=error.location if error else None,
        hint="take a backup before a rollback: opssight-migrate backup create --prove",
    )


def _compared(before: State, after: State, plan: Plan, check_id: str) -> Iterator[Finding]:
    announced = {key for one in plan.losses if one.kind is LossKind.GOES for key in one.keys}
    for where, message in round_trip.differences(before, after, announced):
        yield Finding(
            check_id=check_id,
            severity=Severity.FAIL,
            message=f"after a rollback and the way forward again {message}",
            where=where,
            hint="take a backup before a rollback: opssight-migrate backup create --prove",
        )
