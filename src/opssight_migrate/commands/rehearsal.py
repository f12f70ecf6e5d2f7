"""Does the old release go on working? Asked of an OpsSight without rows on the embedded server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import EmbeddedServerError
from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.model.plan import Blocker, Finding, Obstacle, Plan, Severity
from opssight_migrate.model.report import CheckResult
from opssight_migrate.opssight import old_release, revisions
from opssight_migrate.opssight.old_release import Statement
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import catalog, embedded, reader, rehearsal, standing
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.rehearsal import Broken
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile

CHECK_ID = "old-release-stays-alive"

_KEYS = 5
_SHOWN = 100


def rehearse_old_release(
    profile: Profile,
    session: Session,
    target: str,
    emit: Emit,
    *,
    with_shims: bool = True,
) -> tuple[Finding, ...]:
    """Name what the old release could no longer do at ``target``; empty where all goes on.

    Tried are the shipped statements, those of the file that the profile names and what the
    operator's server has counted; that server is only read. ``with_shims=False`` asks what a
    cleanup would break. Nothing is tried where no old release can be at work. Where it cannot be
    tried, that is the finding: the operator decides with the plan before the eyes.

    Raises: ConfigError, if that file cannot be read.
    """
    if not profile.old_release.rehearse:
        return ()
    file = profile.old_release.statements
    given = () if file is None else rehearsal.from_file(Path(file).expanduser())
    current = _revision_to_leave(session, target) if with_shims else target
    if current is None:
        return ()
    try:
        return _on_the_embedded_server(profile, session, target, emit, given, with_shims)
    except EmbeddedServerError as error:
        return (
            Finding(
                check_id=CHECK_ID,
                severity=Severity.WARN,
                message=f"its statements were not rehearsed: {error.message}",
                hint=f"{error.hint}, or old_release.rehearse = false",
            ),
        )


def after_rollback(profile: Profile, session: Session, draft: Draft, emit: Emit) -> None:
    """Try the old release's statements on the shape that the database was taken back to.

    What fails is a warning in the draft, beside the check that says whether all went through.
    """
    with session.reading():
        now = catalog.current_revision(session)
        shims = now is not None and standing.shims_standing(reader.read_catalogue(session))
    findings: tuple[Finding, ...] | None = None
    reason = "there is no OpsSight in the database"
    if now is not None and revisions.is_published(now):
        reason = "old_release.rehearse is false"
        if profile.old_release.rehearse:
            reason = "the embedded server is not at hand"
            file = profile.old_release.statements
            given = () if file is None else rehearsal.from_file(Path(file).expanduser())
            with_shims = bool(shims) or now == revisions.START
            with suppress(EmbeddedServerError):
                findings = _on_the_embedded_server(profile, session, now, emit, given, with_shims)
    broken = [one for one in findings or () if one.severity is Severity.FAIL]
    for finding in findings or ():
        is_note = finding.severity is Severity.NOTE
        draft.find(finding if is_note else replace(finding, severity=Severity.WARN))
    draft.checks.append(
        CheckResult(
            id="old-release",
            title="The old release's statements are accepted",
            category="rollback",
            status="skipped" if findings is None else "failed" if broken else "passed",
            findings=len(broken),
            reason=reason if findings is None else None,
        )
    )


def _on_the_embedded_server(
    profile: Profile,
    session: Session,
    target: str,
    emit: Emit,
    given: Sequence[Statement],
    with_shims: bool,
) -> tuple[Finding, ...]:
    """Return what would fail at ``target``. Raises: EmbeddedServerError, where none can be had."""
    server = embedded.default_cluster()
    server.start()
    try:
        seen = rehearsal.from_statistics(session)
        emit(Noted(severity="note", message=f"{profile.name}: {seen.sentence}"))
        found = (*given, *(seen.statements or ()))
        return _rehearsed(server, target, found, with_shims=with_shims)
    finally:
        server.stop()


def told(plan: Plan, findings: Sequence[Finding], emit: Emit) -> Plan:
    """Return the plan with what the old release could no longer do; notes are told at once.

    What fails whenever it is sent stands in the way; what fails for some rows is announced.
    """
    for finding in findings:
        if finding.severity is Severity.NOTE:
            emit(Noted(severity="note", message=finding.message, hint=finding.hint))
    broken = [
        Blocker(
            message=finding.message,
            where=finding.where,
            hint=f"{finding.hint}, or go on with --allow {Obstacle.OLD_RELEASE}",
            kind=Obstacle.OLD_RELEASE,
        )
        for finding in findings
        if finding.severity is Severity.FAIL
    ]
    announced = [
        f"Old release: {finding.message}; {finding.hint}"
        for finding in findings
        if finding.severity is Severity.WARN
    ]
    return replace(
        plan,
        announcements=(*plan.announcements, *announced),
        blockers=(*plan.blockers, *broken),
    )


def _revision_to_leave(session: Session, target: str) -> str | None:
    """Return where the database is, or None where no old release works on it, or nothing moves."""
    with session.reading():
        current = catalog.current_revision(session)
        if current is None or not revisions.is_published(current):
            return None
        if revisions.is_at_least(current, target):
            return None
        if revisions.is_at_least(current, revisions.MULTI_TENANCY):
            return current if standing.shims_standing(reader.read_catalogue(session)) else None
        empty = all(catalog.table_is_empty(session, table) for table in TABLES_AT_START)
        return None if empty else current


def _rehearsed(
    server: Cluster, target: str, found: Sequence[Statement], *, with_shims: bool
) -> tuple[Finding, ...]:
    strange: set[str] = set()
    if found:
        # What does not work today would not be broken by us.
        with rehearsal.scratch(server, revisions.START, with_shims=True) as before:
            strange = {broken.statement.id for broken in rehearsal.rehearse(before, found)}
    known = [statement for statement in found if statement.id not in strange]
    with rehearsal.scratch(server, target, with_shims=with_shims) as after:
        broken = rehearsal.rehearse(after, [*old_release.statements(), *known])
    findings = [_would_break(one) for one in broken]
    if strange:
        findings.append(
            _note(
                f"{len(strange)} statements were not rehearsed: they do not work on an OpsSight of"
                f" {revisions.START} with sample values either",
                [statement.id for statement in found if statement.id in strange],
            )
        )
    if stars := rehearsal.select_star(known):
        findings.append(
            _note(
                f"{len(stars)} statements read all columns (SELECT *) of tables that get new ones:"
                " prepared at the server, each fails once in each open session (0A000)",
                [statement.id for statement in stars],
                hint="let the application's pool reconnect after the migration",
            )
        )
    return tuple(findings)


def _would_break(broken: Broken) -> Finding:
    statement = broken.statement
    calls = f", called {statement.calls:,} times" if statement.calls is not None else ""
    what = f"{_shortened(statement.sql)} ({statement.purpose}{calls})"
    if broken.severity is Severity.WARN:
        message = f"{what} would fail for rows that have an assignment: {broken.message}"
        hint = "delete the user's rows in user_roles first, or leave it to the new release"
    else:
        message = f"{what} would fail: {broken.message}"
        hint = "change what sends it, or stop it before the change"
    return Finding(
        check_id=CHECK_ID,
        severity=broken.severity,
        message=f"{message} ({broken.sqlstate})" if broken.sqlstate else message,
        where=statement.id,
        hint=hint,
    )


def _note(message: str, ids: Sequence[str], hint: str | None = None) -> Finding:
    return Finding(
        check_id=CHECK_ID,
        severity=Severity.NOTE,
        message=message,
        keys=tuple(ids[:_KEYS]),
        hint=hint,
    )


def _shortened(sql: str) -> str:
    line = " ".join(sql.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
