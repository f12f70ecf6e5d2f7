"""``backup create | list | verify``: what lies on the shelf, and whether it is any good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opssight_migrate import __version__
from opssight_migrate.backups import creation, shelf, verification
from opssight_migrate.backups.shelf import Shelved, Spoilt
from opssight_migrate.commands import safety, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.commands.identities import AskPassphrase, at_hand
from opssight_migrate.engine.stopping import StopSignal
from opssight_migrate.model.errors import MigrateError, StandbyError, UsageError
from opssight_migrate.model.events import Emit, Event, Noted
from opssight_migrate.model.report import CheckResult, Diagnostic, Next, Report
from opssight_migrate.postgres import catalog, connect, exclusive, journal, marker
from opssight_migrate.postgres.journal import Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What to verify: ``path`` None is the newest; without ``identity`` a sealed one stays shut.

    ``ask`` asks for a passphrase; None where nobody can be asked.
    """

    path: Path | None = None
    identity: Path | None = None
    ask: AskPassphrase | None = None
    restores: bool = False
    argv_hint: str = ""


def create(
    settings: Settings, profile: Profile, *, proves: bool, emit: Emit, argv_hint: str = ""
) -> Report:
    """Put a backup of the profile's database on its shelf."""
    draft = Draft("backup create", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording():
        safety.refuse_policy(profile)
        with wiring.connected(profile, "backup", tell) as session:
            _refuse(session, profile, draft)
            safety.warn_of_weak_seal(profile, tell)
            stop = StopSignal(session, tell)
            with stop.listening():
                order = safety.order(profile, proves=proves, pulse=stop.pause_point)
                made = creation.create(session, order, tell)
            draft.artifacts += safety.artifacts_of(made)
            _write_down(session, settings, profile, made, tell)
        command = " ".join(filter(None, ("opssight-migrate backup verify", argv_hint)))
        draft.next.append(Next(command=command, why="see that it is whole, any time"))
    return draft.report()


def listed(profile: Profile, *, every_environment: bool = False) -> Report:
    """Tell what lies on the shelf, newest first; spoilt ones are warnings."""
    draft = Draft("backup list", profile)
    with draft.recording():
        found = safety.shelf_of(profile).listed(None if every_environment else profile.name)
        for one in found:
            if isinstance(one, Spoilt):
                draft.diagnostics.append(
                    Diagnostic(
                        code=one.error.code,
                        severity="warning",
                        message=one.error.message,
                        location=str(one.path),
                    )
                )
            else:
                draft.artifacts.append(safety.entry_of(one))
    return draft.report()


def verify(profile: Profile, request: VerifyRequest, *, emit: Emit) -> Report:
    """Look whether a backup is still what was written, opens and, if asked, restores."""
    draft = Draft("backup verify", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording():
        backup = _chosen(profile, request.path)
        verification.refuse_other_environment(backup, profile.name)
        was_signed = verification.check_file(backup, profile.backups.manifest_key)
        _passed(draft, "sha256", "The file is byte for byte what was written")
        is_known = None if was_signed else "no backup_manifest_key is configured"
        _passed(draft, "signature", "The manifest carries our HMAC", unless=is_known)
        identities = at_hand(profile, request.identity, backup, request.ask)
        opens = bool(identities) or not backup.manifest.is_sealed
        if opens:
            verification.check_seal(backup, identities)
        elif request.restores:
            raise UsageError(
                "a sealed backup cannot be restored without what opens it",
                hint=_how_to_open(backup),
            )
        else:
            tell(
                Noted(
                    severity="note",
                    message="size and SHA-256 agree; the seal was not opened: no"
                    f" {_opener(backup)} is here",
                    hint=_how_to_open(backup),
                )
            )
        is_shut = None if opens else f"no {_opener(backup)} is here"
        _passed(draft, "seal", "The file opens from end to end", unless=is_shut)
        if request.restores:
            with wiring.connected(profile, "backup", tell) as session:
                verification.check_restore(backup, identities, session)
        is_unasked = None if request.restores else "--restore was not given"
        _passed(draft, "restore", "Every table comes out as it went in", unless=is_unasked)
        *dumps, described = safety.artifacts_of(backup)
        draft.artifacts += [one.model_copy(update={"verified": True}) for one in dumps]
        draft.artifacts.append(described)
        draft.revision_to = backup.manifest.revision
    return draft.report()


def _refuse(session: Session, profile: Profile, draft: Draft) -> None:
    with session.reading():
        facts = connect.facts(session)
        draft.database, draft.revision_to = facts, catalog.current_revision(session)
        if connect.is_standby(session):
            raise StandbyError(
                "a backup is taken from the primary: its manifest names the WAL position",
                hint="connect to the primary",
            )
        known = marker.read(session)
        if known is not None:
            marker.is_copy(known, profile.name, facts)


def _write_down(
    session: Session, settings: Settings, profile: Profile, made: Shelved, emit: Emit
) -> None:
    """Write the backup into the journal where there is one; a backup alone makes none."""
    if not journal.exists(session):
        return
    try:
        exclusive.take(session)
        facts = RunFacts(
            command="backup",
            environment=profile.name,
            tool_version=__version__,
            server_version=made.manifest.origin.server_version,
            settings_digest=settings.digest(),
            plan_digest=made.manifest_sha256[:9],
            revision_from=made.manifest.revision,
            revision_to=made.manifest.revision or "",
        )
        book = Journal.begin(session, facts)
        with session.writing():
            book.guard()
            safety.leave_trace(book, made)
            book.end("ok")
    except MigrateError as error:
        emit(Noted(severity="warning", message=f"the journal lacks this backup: {error.message}"))


def _chosen(profile: Profile, path: Path | None) -> Shelved:
    if path is not None:
        return shelf.taken(path)
    return safety.newest(profile)


def _opener(backup: Shelved) -> str:
    return "passphrase" if backup.manifest.sealing == "passphrase" else "identity"


def _how_to_open(backup: Shelved) -> str:
    if backup.manifest.sealing == "passphrase":
        return "run it where you can be asked, or set backup_passphrase_command"
    return "give --identity FILE, or set backup_identity_command"


def _passed(draft: Draft, name: str, title: str, *, unless: str | None = None) -> None:
    """Take down that something holds, or why it was not looked at."""
    draft.checks.append(
        CheckResult(
            id=name,
            title=title,
            category="backup",
            status="skipped" if unless else "passed",
            findings=0,
            reason=unless,
        )
    )
