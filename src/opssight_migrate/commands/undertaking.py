"""What the verbs that write have in common: how a run ends, well or not."""

from __future__ import annotations

from collections.abc import Callable

from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import (
    ExitCode,
    InterruptedRunError,
    MigrateError,
    PartialError,
    RefusedError,
    Touched,
)
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.postgres import catalog, reader, standing
from opssight_migrate.postgres.journal import Journal
from opssight_migrate.postgres.observer import Observer
from opssight_migrate.postgres.session import Session


def as_resumable(error: MigrateError) -> MigrateError:
    """Once a run has begun, what stops it is no longer a refusal that touched nothing."""
    if isinstance(error, RefusedError) or error.exit_code is ExitCode.CONNECT:
        return PartialError(
            error.message, hint=error.hint, where=error.where, sqlstate=error.sqlstate
        )
    error.touched = Touched.RESUMABLE
    return error


def ended_badly(
    book: Journal, error: MigrateError, leave_trace: Callable[[str], None], emit: Emit
) -> None:
    """Write the end into the journal, where there still is a connection to write with."""
    status = "interrupted" if isinstance(error, InterruptedRunError) else "failed"
    try:
        with book.session.writing():
            leave_trace(f"{status}: {error.code}")
            book.end(status, f"{error.code}: {error.message}")
    except MigrateError as second:
        emit(Noted(severity="warning", message=f"the journal lacks this end: {second.message}"))


def close(observer: Observer, emit: Emit) -> None:
    """Close the second connection, and say so if it could not see."""
    observer.close()
    if observer.blind_because is not None:
        message = f"lock receipts lack their victims: {observer.blind_because}"
        emit(Noted(severity="warning", message=message))


def look_again(session: Session, draft: Draft) -> None:
    """Say in the report where the database is now."""
    if session.connection.closed:
        return
    with draft.recording(), session.reading():
        draft.revision_to = catalog.current_revision(session)
        draft.shims = standing.shims_standing(reader.read_catalogue(session))
