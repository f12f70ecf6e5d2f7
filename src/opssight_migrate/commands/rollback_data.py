"""``rollback --type data``: a backup restored beside the database, compared, and swapped in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opssight_migrate import __version__
from opssight_migrate.backups import comparison, replacement, scratch, seal, shelf, verification
from opssight_migrate.backups.replacement import Changed
from opssight_migrate.backups.shelf import Shelved
from opssight_migrate.commands import safety, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import ConfigError, RefusedError
from opssight_migrate.model.events import Emit, Event, Noted
from opssight_migrate.model.report import Report
from opssight_migrate.postgres import (
    catalog,
    connect,
    exclusive,
    journal,
    marker,
    properties,
    siblings,
    swap,
)
from opssight_migrate.postgres.journal import Audit, Journal, RunFacts
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings

Confirm = Callable[[tuple[Changed, ...]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """Which backup, and what to do with it.

    ``into`` restores under that name and leaves the live database alone; ``terminates`` allows
    clients to be ended at the swap.
    """

    backup_file: Path
    identity: Path | None = None
    into: str | None = None
    terminates: bool = False


def restore_beside_and_swap(
    settings: Settings, profile: Profile, request: RestoreRequest, *, confirm: Confirm, emit: Emit
) -> Report:
    """Take the profile's database back to a backup; the old one stays under another name.

    ``confirm`` is asked with the tables that changed since the backup, after it was restored and
    proven and before anything of the live database is touched; it raises to decline.
    """
    draft = Draft("rollback", profile)

    def tell(event: Event) -> None:
        draft.hear(event)
        emit(event)

    with draft.recording(), wiring.connected(profile, "rollback", tell) as live:
        exclusive.take(live)
        backup = _checked(profile, request, live, draft)
        identities = _identities(profile, request, backup)
        like = properties.read_properties(live)
        with scratch.scratch(live, like, owner=like.owner) as new:
            verification.restore_into(backup, identities, live, new, as_owner=True)
            comparison.refuse_differences(live, new, backup.manifest.tables)
            if request.into is not None:
                swap.rename(live, new, request.into)
            else:
                confirm(replacement.changed_since(live, backup.manifest))
                _replace(_Work(settings, profile, request, backup, draft, tell), live, new)
        draft.revision_to = backup.manifest.revision
    return draft.report()


@dataclass(frozen=True, slots=True)
class _Work:
    settings: Settings
    profile: Profile
    request: RestoreRequest
    backup: Shelved
    draft: Draft
    emit: Emit


def _checked(profile: Profile, request: RestoreRequest, live: Session, draft: Draft) -> Shelved:
    """Look at everything that can be looked at before a byte is restored."""
    backup = shelf.taken(request.backup_file)
    with live.reading():
        facts = connect.facts(live)
        draft.database = facts
        draft.revision_to = catalog.current_revision(live)
        known = marker.read(live)
        if known is not None:
            marker.is_copy(known, profile.name, facts)
    verification.refuse_other_environment(backup, profile.name)
    verification.refuse_other_database(backup, facts.system_identifier, facts.name)
    verification.check_file(backup, profile.backups.manifest_key)
    if request.into is None:
        swap.refuse_without_rights(live)
        clients = swap.clients_of(live, facts.name)
        if clients and not request.terminates:
            raise RefusedError(
                f"{clients} client{'s are' if clients > 1 else ' is'} connected to {facts.name}",
                hint="stop them, or allow them to be ended at the swap: --terminate",
            )
    return backup


def _identities(profile: Profile, request: RestoreRequest, backup: Shelved) -> list[object]:
    if not backup.manifest.file.sealed:
        return []
    if request.identity is not None:
        return seal.identities_from(request.identity)
    if profile.backups.identity_command is not None:
        return seal.identities_printed_by(profile.backups.identity_command)
    raise ConfigError(
        "the backup is sealed, and no identity is here",
        hint="give --identity FILE, or set backup_identity_command",
    )


def _replace(work: _Work, live: Session, new: str) -> None:
    """Back up, carry over what is the live database's own, write it down, swap."""
    made = safety.backup(work.profile, live, work.emit, lambda: None)
    if made is not None:
        work.draft.artifacts += safety.artifacts_of(made)
    name = live.connection.info.dbname
    kept = properties.read_properties(live)
    replacement.carry_journal(live, new)
    run_id = _write_down(work, live, new)
    maintenance = siblings.sibling(live, siblings.MAINTENANCE, "opssight-migrate/swap")
    try:
        properties.apply(maintenance, new, kept)
        live.close()  # a database with a session on it cannot be renamed, not even ours
        retired = swap.retired_name(name, run_id)
        swap.swap(maintenance, live=name, new=new, retired=retired)
    finally:
        maintenance.close()
    work.draft.run_id = run_id
    work.emit(
        Noted(
            severity="note",
            message=f"the database from before is kept as {retired}",
            hint="opssight-migrate cleanup --retired, when nobody needs it any more",
        )
    )


def _write_down(work: _Work, live: Session, new: str) -> str:
    """Write the run into the journal of the database that is to be the live one."""
    facts = connect.facts(live)
    restored = siblings.sibling(live, new, "opssight-migrate/replacement")
    made = work.backup.manifest
    try:
        with restored.writing():
            journal.install(restored)
            marker.mark(restored, work.profile.name, connect.facts(restored), adopt=True)
        book = Journal.begin(
            restored,
            RunFacts(
                command="rollback-data",
                environment=work.profile.name,
                tool_version=__version__,
                server_version=facts.server_version,
                settings_digest=work.settings.digest(),
                plan_digest=work.backup.manifest_sha256[:9],
                revision_from=catalog.current_revision(live),
                revision_to=made.revision or "",
            ),
        )
        with restored.writing():
            book.guard()
            book.audit(
                Audit(operation="IMPORT", severity="CRITICAL", table="alembic_version"),
                f"data rolled back to {made.file.name}",
                record=book.run_id,
                context={"sha256": made.file.sha256, "made_at": made.made_at.isoformat()},
            )
            book.end("ok")
    finally:
        restored.close()
    return book.run_id
