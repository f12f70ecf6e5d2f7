"""The backup before a change: planned with the rest, made after the question, kept in mind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from opssight_migrate import __version__
from opssight_migrate.backups import creation, room, scratch, seal
from opssight_migrate.backups.creation import Order
from opssight_migrate.backups.shelf import Shelf, Shelved, Spoilt
from opssight_migrate.model.errors import (
    BackupError,
    BackupPolicyError,
    ClientToolError,
    ConfigError,
    InterruptedRunError,
    NoRoomError,
    Touched,
)
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.model.plan import Blocker, Plan
from opssight_migrate.model.report import Artifact
from opssight_migrate.postgres import clients, privileges
from opssight_migrate.postgres.journal import Audit, Journal
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile
from opssight_migrate.settings.places import shelf_dir

NO_KEY = "no backup is made first: backup_recipients is empty"
HOW = 'write backup_recipients = ["age1..."], backup_plain = true, or backup = "never"'


def shelf_of(profile: Profile) -> Shelf:
    """Return the shelf of an environment."""
    return Shelf(shelf_dir(profile.backups.directory))


def newest(profile: Profile) -> Shelved:
    """Return the newest backup of an environment.

    Raises: BackupError where there is none; what is wrong with it, where it is spoilt.
    """
    place = shelf_of(profile)
    for one in place.listed(profile.name):
        if isinstance(one, Spoilt):
            raise one.error
        return one
    raise BackupError(
        f"there is no backup of {profile.name} in {place.directory}",
        where=str(place.directory),
        hint="opssight-migrate backup create",
    )


def is_wanted(profile: Profile) -> bool:
    """Tell whether the profile asks for a backup before a change, and says how to make one."""
    return profile.backups.policy != "never" and profile.backups.are_possible


def planned(plan: Plan, profile: Profile, session: Session) -> Plan:
    """Say in a plan what backup is made first, and what stands in its way."""
    if not plan.steps or profile.backups.policy == "never":
        return plan
    if not is_wanted(profile):
        if profile.backups.policy == "required":
            blocker = Blocker(
                message='backup = "required", and backup_recipients is empty', hint=HOW
            )
            return replace(plan, blockers=(*plan.blockers, blocker))
        return replace(plan, announcements=(*plan.announcements, NO_KEY))
    blockers = [*plan.blockers, *in_the_way(profile, session)]
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
            refuse_policy(profile)  # says what is missing
        return None
    warn_of_weak_seal(profile, emit)
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
    refuse_policy(profile)
    keys = profile.backups
    return Order(
        environment=profile.name,
        tool=f"opssight-migrate {__version__}",
        shelf=shelf_of(profile),
        recipients=keys.recipients,
        passphrase=_passphrase(profile),
        manifest_key=keys.manifest_key,
        proves=proves or keys.policy == "required",
        jobs=keys.jobs,
        pulse=pulse,
    )


def refuse_policy(profile: Profile) -> None:
    """Raise BackupPolicyError where a profile does not say how its backups are kept from others."""
    if not profile.backups.are_possible:
        raise BackupPolicyError(
            f"environment {profile.name} does not say to whom its backups are sealed", hint=HOW
        )


def artifacts_of(made: Shelved) -> list[Artifact]:
    """Return the files of a backup as the report tells of them, the manifest last."""
    is_proven = True if made.manifest.proven else None
    dumps = [
        Artifact(kind="backup", path=str(path), bytes=part.bytes, sha256=part.sha256,
                 verified=is_proven)
        for part, path in zip(made.manifest.parts, made.paths, strict=True)
    ]  # fmt: skip
    size = made.manifest_path.stat().st_size
    path, sha256 = str(made.manifest_path), made.manifest_sha256
    return [*dumps, Artifact(kind="manifest", path=path, bytes=size, sha256=sha256)]


def entry_of(made: Shelved) -> Artifact:
    """Return a backup as one line of a list: of several parts the manifest, and their bytes."""
    parts = made.manifest.parts
    return Artifact(
        kind="backup",
        path=str(made.path),
        bytes=made.manifest.bytes,
        sha256=parts[0].sha256 if len(parts) == 1 else made.manifest_sha256,
        verified=True if made.manifest.proven else None,
    )


def leave_trace(book: Journal, made: Shelved | None) -> None:
    """Write the backup into the journal and the audit log, in the caller's transaction."""
    if made is None:
        return
    entry = entry_of(made)
    context: dict[str, Any] = {
        "file": made.path.name,
        "parts": len(made.paths),
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "manifest_sha256": made.manifest_sha256,
        "proven": made.manifest.proven,
    }
    book.audit(
        Audit(operation="EXPORT", severity="HIGH", table="alembic_version"),
        f"backup {made.path.name}",
        record=book.run_id,
        context=context,
    )


def warn_of_weak_seal(profile: Profile, emit: Emit) -> None:
    """Warn of a backup off the embedded server that is plain, or sealed with a passphrase."""
    keys = profile.backups
    if keys.recipients or profile.is_embedded:
        return
    message = "the backup is not sealed (backup_plain): whoever reads it has every row"
    if keys.passphrase_command is not None:
        message = (
            "the backup is sealed with a passphrase: what makes it, on this machine, also opens it"
        )
    emit(Noted(severity="warning", message=message, hint='write backup_recipients = ["age1..."]'))


def _passphrase(profile: Profile) -> SecretStr | None:
    command = profile.backups.passphrase_command
    return None if command is None else seal.printed_by(command, "backup_passphrase_command")


def in_the_way(profile: Profile, session: Session) -> Sequence[Blocker]:
    """Say what keeps the backup that a profile asks for from being made of this database."""
    found: list[Blocker] = []
    try:
        seal.refuse_bad_recipients(profile.backups.recipients)
        major = session.server_version // 10_000
        clients.for_dump(major, over_tls=creation.uses_tls(session))
        room.refuse_full_shelf(session, shelf_of(profile), profile.name)
    except (ClientToolError, ConfigError, NoRoomError) as error:
        found.append(Blocker(message=error.message, hint=error.hint))
    if profile.backups.policy == "required" and not scratch.is_possible(session):
        found.append(
            Blocker(
                message="a required backup is proven in a scratch database, and this role may"
                " make none",
                hint=f"{privileges.createdb(session)};",
            )
        )
    return found


def _described(profile: Profile) -> str:
    keys = profile.backups
    number = len(keys.recipients)
    how = f"sealed to {number} recipient{'s'[: number != 1]}" if number else "plain"
    if keys.passphrase_command is not None:
        how = "sealed with a passphrase"
    proof = ", proven by a restore" if keys.policy == "required" else ""
    return f"{how}{proof}, in {shelf_of(profile).directory}"
