"""The backups of one environment that cleanup may retire, and those that stay."""

from __future__ import annotations

from collections.abc import Mapping

from humanize import naturalsize

from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.engine.floor import Candidate


def found(shelf: Shelf, environment: str) -> dict[str, Shelved]:
    """Return the backups of an environment by the name of their manifest, newest first.

    One whose manifest cannot be read, or names another environment than its file does, is not
    among them: nobody knows what it is.
    """
    return {
        one.manifest_path.name: one
        for one in shelf.listed(environment)
        if isinstance(one, Shelved) and one.manifest.environment == environment
    }


def candidates(
    backups: Mapping[str, Shelved], environment: str, *, is_unfinished: bool
) -> list[Candidate]:
    """Return them for the floor, which keeps the newest proven one whatever its age.

    While a run is unfinished all are needed: it may be undone by a backup only.
    """
    proven = [(one.manifest.made_at, name) for name, one in backups.items() if one.manifest.proven]
    newest_proven = max(proven)[1] if proven else None
    return [
        Candidate(
            name=name,
            environment=environment,
            shelf="backups",
            at=one.manifest.made_at,
            needed=is_unfinished or name == newest_proven,
        )
        for name, one in backups.items()
    ]


def sentence(backup: Shelved) -> str:
    """Say what a backup is: when it was made, of what, and how much room it takes."""
    made = backup.manifest
    proof = ", proven" if made.proven else ""
    return (
        f"made {made.made_at:%Y-%m-%d}, revision {made.revision or 'none'},"
        f" {naturalsize(made.bytes)}{proof}"
    )
