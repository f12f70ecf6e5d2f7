"""How a verb gets at its database: the embedded server or the profile's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opssight_migrate.model.errors import BusyError, ConfigError, UsageError
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.opssight import revisions
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import connect, embedded, exclusive, privileges, sample_database
from opssight_migrate.postgres.chain import Drive
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile
from opssight_migrate.steps.base import StepContext


@contextmanager
def connected(profile: Profile, command: str, emit: Emit) -> Iterator[Session]:
    """Open the working connection of a verb; the embedded server lives as long as it is used.

    Raises: ConfigError, ConnectError and what ``connect.opened`` raises; PrivilegeError where
    the role cannot read what the verb looks at (``doctor`` alone tells that as a finding).
    """
    with reachable(profile, emit) as opened:
        session = opened(f"opssight-migrate/{command}")
        try:
            if command != "doctor":
                privileges.refuse_blind(session, sorted(golden(revisions.HEAD)["tables"]))
            yield session
        finally:
            session.close()


@contextmanager
def reachable(profile: Profile, emit: Emit) -> Iterator[Callable[[str], Session]]:
    """Give a way to open connections of a given application name to the profile's database."""
    if profile.is_embedded:
        with embedded.default_cluster() as cluster:
            yield _opener(sample_database.ensure(cluster, emit))
        return
    yield _opener(connect.conninfo_of(profile, env=os.environ))


def _opener(conninfo: str) -> Callable[[str], Session]:
    return lambda name: connect.opened(conninfo, application_name=name)


def take_turn(session: Session, wait_s: float | None, emit: Emit) -> None:
    """Take the lock of one run at a time; ``wait_s`` is --wait, and waiting is never silent.

    Raises: BusyError naming who holds it.
    """
    if wait_s is None:
        exclusive.take(session)
        return
    try:
        exclusive.take(session, patience_s=min(1.0, wait_s))
    except BusyError as error:
        emit(Noted(severity="warning", message=f"{error.message}; waiting up to {wait_s:,.0f} s"))
        exclusive.take(session, patience_s=max(wait_s - 1.0, 0.0))


def target_of(profile: Profile, chosen: str | None) -> str:
    """Return the revision to go to: the option, else the configuration, else our default.

    Raises: UsageError or ConfigError, when that is none of the published ones.
    """
    target = chosen or profile.target_revision or revisions.TARGET
    if not revisions.is_published(target):
        known = ", ".join(revision.id for revision in revisions.REVISIONS)
        error = UsageError if chosen else ConfigError
        raise error(
            f"revision {target!r} is none of the published ones",
            where=None if chosen else "[project] target_revision",
            hint=f"write one of: {known}",
        )
    return target


def looking(
    session: Session, profile: Profile, emit: Emit, *, window_s: float | None = None
) -> StepContext:
    """Return the context of a verb that reads only; ``window_s`` is --window, None without it."""
    drive = Drive(session=session, emit=emit)
    return StepContext(session=session, profile=profile, drive=drive, emit=emit, window_s=window_s)
