"""The backup before a change: planned with the rest, made after the question, kept in mind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from opssight_migrate import __version__
from opssight_migrate.backups import creation, scratch, seal
from opssight_migrate.backups.creation import Order
from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.model.errors import (
    BackupPolicyError,
    ClientToolError,
    ConfigError,
    InterruptedRunError,
    Touched,
)
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.model.plan import Blocker, Plan
from opssight_migrate.model.report import Artifact
from opssight_migrate.postgres import clients
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile
from opssight_migrate.settings.places import shelf_dir

_NO_KEY = "no backup is made first: backup_recipients is empty"
_HOW = 'write backup_recipients = ["age1..."], backup_plain = true, or backup = "never"'


def shelf_of(profile: Profile) -> Shelf:
    """Return the shelf of an environment."""
    return Shelf(shelf_dir(profile.backups.directory))


def is_wanted(profile: Profile) -> bool:
    """Tell whether the profile asks for a backup before a change, and says how to make one."""
    keys = profile.backups
    return keys.policy != "never" and bool(keys.recipients or keys.plain)


def planned(plan: Plan, profile: Profile, session: Session) -> Plan:
    """Say in a plan what backup is made first, and what stands in its way."""
    if not plan.steps or profile.backups.policy == "never":
        return plan
    if not is_wanted(profile):
        if profile.backups.policy == "required":
            blocker = Blocker(
                message='backup = "required", and backup_recipients is empty', hint=_HOW
            )
            return replace(plan, blockers=(*plan.blockers, blocker))
        return replace(plan, announcements=(*plan.announcements, _NO_KEY))
    blockers = [*plan.blockers, *_in_the_way(profile, session)]
    return replace(
        plan,
        announcements=(*plan.announcements, f"a backup is made first: {_described(profile)}"),
        blockers=tuple(blockers),
    )


def backup(
    profile: Profile, session: Session, emit: Emit, pulse: Callable[[], None]
) -> Shelved | None:
    """Make the backup that the profile asks for before a change; None where it asks for none.

    Raises: BackupError and what ``creation.create`` raises; then nothing may be changed.
    """
    if not is_wanted(profile):
        if profile.backups.policy == "required":
            order(profile)  # says what is missing
        return None
    warn_of_plain(profile, emit)
    try:
        return creation.create(session, order(profile, pulse=pulse), emit)
    except InterruptedRunError as error:
        stopped = type(error)("stopped while the backup was made; nothing of it is left")
        stopped.touched = Touched.NOTHING
        raise stopped from error


def before(profile: Profile, emit: Emit) -> Callable[[Session, Plan], None]:
    """Return what a verb calls after its question and before its first change."""

    def make(session: Session, _: Plan) -> None:
        backup(profile, session, emit, lambda: None)

    return make


def order(
    profile: Profile, *, proves: bool = False, pulse: Callable[[], None] = lambda: None
) -> Order:
    """Return what kind of backup a profile wants; a required one is proven.

    Raises: BackupPolicyError, where it does not say how.
    """
    keys = profile.backups
    if not keys.recipients and not keys.plain:
        raise BackupPolicyError(
            f"environment {profile.name} does not say to whom its backups are sealed", hint=_HOW
        )
    return Order(
        environment=profile.name,
        tool=f"opssight-migrate {__version__}",
        shelf=shelf_of(profile),
        recipients=keys.recipients,
        manifest_key=keys.manifest_key,
        proves=proves or keys.policy == "required",
        pulse=pulse,
    )


def artifacts_of(made: Shelved) -> list[Artifact]:
    """Return a backup as the report tells of it."""
    file = made.manifest.file
    return [
        Artifact(
            kind="backup",
            path=str(made.path),
            bytes=file.bytes,
            sha256=file.sha256,
            verified=True if made.manifest.proven else None,
        ),
        Artifact(
            kind="manifest",
            path=str(made.manifest_path),
            bytes=made.manifest_path.stat().st_size,
            sha256=made.manifest_sha256,
        ),
    ]


def leave_trace(book: Journal, made: Shelved | None) -> None:
    """Write the backup into the journal and the audit log, in the caller's transaction."""
    if made is None:
        return
    file = made.manifest.file
    context: dict[str, Any] = {
        "file": file.name,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "manifest_sha256": made.manifest_sha256,
        "proven": made.manifest.proven,
    }
    book.audit(
        Audit(operation="EXPORT", severity="HIGH", table="alembic_version"),
        f"backup {file.name}",
        record=book.run_id,
        context=context,
    )


def warn_of_plain(profile: Profile, emit: Emit) -> None:
    """Warn where a backup off the embedded server can be read by anybody who gets at it."""
    if not profile.backups.recipients and not profile.is_embedded:
        emit(
            Noted(
                severity="warning",
                message="the backup is not sealed (backup_plain): whoever reads it has every row",
                hint='write backup_recipients = ["age1..."]',
            )
        )


def _in_the_way(profile: Profile, session: Session) -> Sequence[Blocker]:
    found: list[Blocker] = []
    try:
        seal.refuse_bad_recipients(profile.backups.recipients)
        major = session.server_version // 10_000
        clients.for_dump(major, over_tls=creation.uses_tls(session))
    except (ClientToolError, ConfigError) as error:
        found.append(Blocker(message=error.message, hint=error.hint))
    if profile.backups.policy == "required" and not scratch.is_possible(session):
        found.append(
            Blocker(
                message="a required backup is proven in a scratch database, and this role may"
                " make none",
                hint=f"give {session.connection.info.user} CREATEDB",
            )
        )
    return found


def _described(profile: Profile) -> str:
    keys = profile.backups
    number = len(keys.recipients)
    how = f"sealed to {number} recipient{'s'[: number != 1]}" if number else "plain"
    proof = ", proven by a restore" if keys.policy == "required" else ""
    return f"{how}{proof}, in {shelf_of(profile).directory}"
