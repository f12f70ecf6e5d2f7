"""``doctor``: all that a run will need, looked at one by one; each line with its fix."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from humanize import naturalsize

from opssight_migrate.commands import wiring
from opssight_migrate.commands.draft import Draft
from opssight_migrate.model.errors import ExitCode, MigrateError
from opssight_migrate.model.events import Emit
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.model.report import CheckResult, Next, Report
from opssight_migrate.opssight.golden import golden
from opssight_migrate.postgres import connect, privileges, replication, timescale
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile, Settings
from opssight_migrate.settings.listing import listed

_ENOUGH_BYTES = 200 * 1024**2
_TOOLS = ("pg_dump", "pg_restore")

Looks = Iterable[Finding]


def doctor(
    settings: Settings, profile: Profile, *, log_dir: Path, emit: Emit, argv_hint: str = ""
) -> Report:
    """Look at everything, also behind the first thing that is wrong; exit 1 if one is."""
    draft = Draft("doctor", profile)
    _take_down(draft, "configuration", "every value, and who wrote it", _values(settings, profile))
    _take_down(draft, "tools", "PostgreSQL's client programs", _tools())
    _take_down(draft, "disk", "room for log files", _disk(log_dir))
    try:
        with wiring.connected(profile, "doctor", emit) as session:
            _of_the_server(draft, session, wiring.target_of(profile, None))
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


def _of_the_server(draft: Draft, session: Session, target: str) -> None:
    draft.database = connect.facts(session)
    server = draft.database
    _take_down(draft, "connection", "the server can be reached, and by no pooler", [])
    looks: dict[str, tuple[str, Callable[[], Looks]]] = {
        "privileges": ("the role may do what a run needs", lambda: _privileges(session, target)),
        "timescaledb": ("hypertables can be had", lambda: _timescaledb(session)),
        "replication": ("no subscriber would break", lambda: _replication(session, target)),
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
    for name in _TOOLS:
        path = shutil.which(name)
        if path is None:
            yield Finding(
                check_id="tools",
                severity=Severity.WARN,
                message=f"{name} is not on PATH: a backup would have to use the wheel's",
                hint="install your system's postgresql-client, not older than the server",
            )
        else:
            yield _note("tools", f"{_version(path)}  ({path})")


def _version(path: str) -> str:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"{path} does not answer"
    return done.stdout.decode("utf-8", "replace").strip() or f"{path} does not answer"


def _disk(log_dir: Path) -> Iterator[Finding]:
    there = next(place for place in (log_dir, *log_dir.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    message = f"{naturalsize(free)} free for log files in {log_dir}"
    if free < _ENOUGH_BYTES:
        hint = "make room, or name another folder with --log-dir"
        yield Finding(check_id="disk", severity=Severity.FAIL, message=message, hint=hint)
    else:
        yield _note("disk", message)


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


def _timescaledb(session: Session) -> Iterator[Finding]:
    offer = timescale.offered(session)
    if offer.reason:
        yield _note("timescaledb", f"{offer.reason}; plain tables will do", offer.hint)
    else:
        yield _note("timescaledb", f"TimescaleDB {offer.installed or 'can be created'}")


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
