"""What one environment says about its backups, with nothing left to look up."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from opssight_migrate.settings.tables import BackupKeys, BackupPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """The backups of an environment. ``directory`` None means the user's own place.

    ``plain`` allows files that anybody can read who gets at them; else they are sealed to
    ``recipients``, public keys of age or ssh, or with the passphrase that a command prints.
    ``jobs`` None is as many pg_dump side by side as pay.
    """

    policy: BackupPolicy = "auto"
    directory: str | None = None
    recipients: tuple[str, ...] = ()
    identity_command: SecretStr | None = None
    passphrase_command: SecretStr | None = None
    manifest_key: SecretStr | None = None
    plain: bool = False
    jobs: int | None = None

    @property
    def are_possible(self) -> bool:
        """Whether it is said how a backup is kept from others, or that it need not be."""
        return bool(self.recipients or self.passphrase_command or self.plain)


def backups_of(environment: BackupKeys, defaults: BackupKeys, *, is_embedded: bool) -> Backups:
    """Return what an environment says, else what the defaults say, else what is built in.

    The embedded server's data lies open beside its backups, so these may be plain.
    """
    own = environment.model_fields_set
    chosen = {
        name: getattr(environment if name in own else defaults, name)
        for name in BackupKeys.model_fields
    }
    plain = chosen["backup_plain"]
    # An environment that says how it seals does not mean the way of the defaults beside it.
    if environment.backup_recipients:
        chosen["backup_passphrase_command"] = None
    if environment.backup_passphrase_command:
        chosen["backup_recipients"] = None
    return Backups(
        policy=chosen["backup"] or "auto",
        directory=chosen["backup_dir"],
        recipients=chosen["backup_recipients"] or (),
        identity_command=chosen["backup_identity_command"],
        passphrase_command=chosen["backup_passphrase_command"],
        manifest_key=chosen["backup_manifest_key"],
        plain=is_embedded if plain is None else plain,
        jobs=chosen["backup_jobs"],
    )
