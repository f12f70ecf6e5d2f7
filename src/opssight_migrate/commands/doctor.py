"""``doctor``: all that a run will need, looked at one by one; each line with its fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from humanize import naturalsize

from opssight_migrate.backups import room
from opssight_migrate.commands import safety, wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import ExitCode, MigrateError
from opssight_migrate.model.events import Emit
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.model.report import CheckResult, Next, Report
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import clients, connect, privileges, replication, timescale
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.settings.listing import listed

_ENOUGH_BYTES = 200 * 1024**2

Looks = Iterable[Finding]


def doctor(
    settings: Settings, profile: Profile, *, log_dir: Path, emit: Emit, argv_hint: str = ""
) -> Report:
    """Look at everything, also behind the first thing that is wrong; exit 1 if one is."""
    draft = Draft("doctor", profile)
    _take_down(draft, "configuration", "every value, and who wrote it", _values(settings, profile))
    _take_down(draft, "tools", "PostgreSQL's client programs", _tools())
    _take_down(draft, "disk", "room for log files", _disk("disk", log_dir, "log files"))
    shelf = safety.shelf_of(profile).directory
    _take_down(draft, "shelf", "room for backups", _disk("shelf", shelf, "backups"))
    try:
        with wiring.connected(profile, "doctor", emit) as session:
            _of_the_server(draft, session, profile, wiring.target_of(profile, None))
    except MigrateError as error:
        found = Finding(
            check_id="connection",
            severity=Severity.FAIL,
            message=f"{error.code}: {error.message}",
            where=error.where,
            hint=error.hint,
        )
        _take_down(draft, "connection", "the server can be reached", [found])
    if any(check.status == "failed" for check in draft.checks):
        draft.exit_code, draft.status = ExitCode.FINDINGS, "findings"
    else:
        command = f"opssight-migrate status {argv_hint}".strip()
        draft.next.append(Next(command=command, why="where the database is"))
    return draft.report()


def _of_the_server(draft: Draft, session: Session, profile: Profile, target: str) -> None:
    draft.database = connect.facts(session)
    server = draft.database
    _take_down(draft, "connection", "the server can be reached, and by no pooler", [])
    looks: dict[str, tuple[str, Callable[[], Looks]]] = {
        "privileges": ("the role may do what a run needs", lambda: _privileges(session, target)),
        "timescaledb": ("hypertables can be had", lambda: _timescaledb(session)),
        "replication": ("no subscriber would break", lambda: _replication(session, target)),
        "backup": ("a backup can be made", lambda: _backup(session, profile)),
    }
    if connect.is_standby(session):
        found = Finding(
            check_id="primary",
            severity=Severity.FAIL,
            message=f"{server.host}:{server.port} is a standby, which cannot be written to",
            hint="connect to the primary",
        )
        _take_down(draft, "primary", "the server can be written to", [found])
        return
    for look_id, (title, look) in looks.items():
        with session.reading():
            _take_down(draft, look_id, title, list(look()))


def _take_down(draft: Draft, look_id: str, title: str, found: Iterable[Finding]) -> None:
    bad = 0
    for finding in found:
        bad += finding.severity is Severity.FAIL
        draft.find(finding)
    draft.checks.append(
        CheckResult(
            id=look_id,
            title=title,
            category="doctor",
            status="failed" if bad else "passed",
            findings=bad,
        )
    )


def _values(settings: Settings, profile: Profile) -> Iterator[Finding]:
    for key, value, origin in listed(settings, profile.name):
        yield _note("configuration", f"{key} = {value}  ({origin})")


def _tools() -> Iterator[Finding]:
    found = clients.every()
    for tools in found:
        tls = "" if tools.has_tls else ", without TLS"
        yield _note("tools", f"pg_dump (PostgreSQL) {tools.version}{tls}  ({tools.directory})")
    if not found:
        yield Finding(
            check_id="tools",
            severity=Severity.WARN,
            message="there is no pg_dump, so that no backup can be made",
            hint="install the package postgresql-client, not older than the server",
        )


def _disk(look_id: str, directory: Path, what: str) -> Iterator[Finding]:
    free = room.free_bytes(directory.absolute())
    message = f"{naturalsize(free)} free for {what} in {directory}"
    if free < _ENOUGH_BYTES:
        hint = "make room, or name another folder"
        yield Finding(check_id=look_id, severity=Severity.FAIL, message=message, hint=hint)
    else:
        yield _note(look_id, message)


def _backup(session: Session, profile: Profile) -> Iterator[Finding]:
    """Look for what a backup of this very server wants; an error where one is wanted."""
    if profile.backups.policy == "never":
        yield _note("backup", 'no backup is made before a change (backup = "never")')
        return
    if not profile.backups.are_possible:
        severity = Severity.FAIL if profile.backups.policy == "required" else Severity.NOTE
        message, hint = safety.NO_KEY, safety.HOW
        yield Finding(check_id="backup", severity=severity, message=message, hint=hint)
        return
    for lack in safety.in_the_way(profile, session):
        yield Finding(
            check_id="backup", severity=Severity.FAIL, message=lack.message, hint=lack.hint
        )


def _privileges(session: Session, target: str) -> Iterator[Finding]:
    tables = sorted(golden(target)["tables"])
    lacks = [*privileges.lacking_to_read(session, tables), *privileges.lacking(session, tables)]
    for lack in lacks:
        yield Finding(
            check_id="privileges",
            severity=Severity.FAIL,
            message=lack.why,
            where=lack.where,
            hint=f"{lack.grant};",
        )
    for lack in privileges.lacking_further(session):
        yield _note("privileges", lack.why, f"{lack.grant};")


def _timescaledb(session: Session) -> Iterator[Finding]:
    offer = timescale.offered(session)
    if offer.reason:
        yield _note("timescaledb", f"{offer.reason}; plain tables will do", offer.hint)
    elif offer.installed is None:
        yield _note("timescaledb", "TimescaleDB can be created")
    else:
        rows = "becomes a chunk as it is" if offer.attaches else "is moved within migrate --window"
        yield _note("timescaledb", f"{offer.named}: a table with rows {rows}")


def _replication(session: Session, target: str) -> Iterator[Finding]:
    tables = sorted(golden(target)["tables"])
    for name, published in replication.published(session, tables).items():
        yield Finding(
            check_id="replication",
            severity=Severity.FAIL,
            message=f"publication {name} carries {', '.join(published)}; DDL is not replicated",
            hint="make the columns at the subscriber first, then allow it with --allow OM308",
        )
    for slot in replication.active_slots(session):
        yield _note("replication", f"the logical slot {slot} is read right now")


def _note(look_id: str, message: str, hint: str | None = None) -> Finding:
    return Finding(check_id=look_id, severity=Severity.NOTE, message=message, hint=hint)
