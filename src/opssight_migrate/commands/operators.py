"""Who may run a verb that writes, where the environment names its operators."""

from __future__ import annotations

import getpass

from opssight_migrate import __version__
from opssight_migrate.model.errors import MigrateError, OperatorError
from opssight_migrate.postgres import attempts, connect
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile


def refuse_stranger(session: Session, profile: Profile, command: str, target: str = "") -> None:
    """Return if we are one of the operators, or none are named.

    A refused attempt is written into the journal, where there is one and the role may write.

    Raises: OperatorError, before any change.
    """
    if not profile.operators:
        return
    db_role, os_user = attempts.role_of(session), getpass.getuser()
    if {f"db:{db_role}", f"os:{os_user}"} & set(profile.operators):
        return
    message = f"db:{db_role} and os:{os_user} are no operators of {profile.name}"
    facts = connect.facts(session)
    try:
        attempts.note(
            session,
            command=command,
            environment=profile.name,
            target=target,
            tool_version=__version__,
            server_version=facts.server_version,
            why=f"{OperatorError.code}: {message}",
        )
    except MigrateError as error:
        message += f" (the journal does not know of this attempt: {error.message})"
    raise OperatorError(
        message,
        where=f"[environments.{profile.name}] operators",
        hint=f"ask one of: {', '.join(profile.operators)}",
    )
