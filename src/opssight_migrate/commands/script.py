"""``migrate -n --sql``: what a run would execute, taken down from a run on the embedded server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import SecretStr

from opssight_migrate import __version__
from opssight_migrate.model.events import Event, StepFinished, StepStarted
from opssight_migrate.model.plan import Plan
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import catalog, connect, embedded, rehearsal, throwaway
from opssight_migrate.postgres.recording import BEGIN, COMMIT, ROLLBACK, RecordingSession
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Profile
from opssight_migrate.settings.backups import Backups
from opssight_migrate.settings.tables import OldRelease

_HEAD = """\
opssight-migrate {version}: the SQL of `opssight-migrate migrate`, environment {environment},
{address}, revision {before} -> {after}, plan {digest}.
Nothing was executed there. It is for reading and no script to run: a run is more careful.

It was taken down from a real run of the same steps on the embedded server, over an OpsSight
of the same revision {rows}. Decided at run time, and so not to be seen here:
  - locks: each is asked for only when the way is free, for 50 ms, again and again until
    lock_budget is spent; a transaction for which somebody waits longer than stall_budget is
    given up and begun again
  - :after and :limit, the last key of the batch before and the rows of the next one; such a
    statement is repeated, a transaction each, until no key is left
  - the ids of the default organization and of roles; roles and permissions, which are seeded
    where there are none; what is there already, after an interruption; what an earlier
    rollback archived, which comes home instead of being made
  - the owner and the grants of new tables, which are those of public.users
{timescale}\
Left out: statements that only look, the rows of the journal (they commit with the work that
they tell of), and the advisory lock that keeps a second run away.
"""
_TIMESCALE = """\
  - hypertables: this server has TimescaleDB and the embedded one has not; set-up-time-series
    makes metrics and log_entries hypertables, while they are empty
"""


@dataclass(slots=True)
class Script:
    """Takes statements down, under the steps of ``plan`` to which they belong."""

    plan: Plan
    lines: list[str] = field(default_factory=list[str])
    _open: list[str] | None = None
    _step: str | None = None
    _last: str = ""

    def hear(self, event: Event) -> None:
        """Begin a section with each step."""
        match event:
            case StepStarted(step_id=step_id):
                self._step = step_id
                for number, step in enumerate(self.plan.steps, 1):
                    if step.step_id == step_id:
                        title = f"{number}. {step_id} {step.title} ({step.kind})"
                        self.lines += ["", f"-- {title}"]
            case StepFinished():
                self._step = None
            case _:
                pass

    def note(self, statement: str) -> None:
        """Take one statement down; a transaction in which nothing was changed leaves no trace."""
        if self._step not in (None, *(step.step_id for step in self.plan.steps)):
            return
        if statement == BEGIN:
            self._open = []
        elif statement == ROLLBACK:
            self._open = None
        elif statement == COMMIT:
            if self._open:
                self._add("\n".join([BEGIN, *self._open, COMMIT]))
            self._open = None
        elif self._open is None:
            self._add(statement)
        else:
            self._open.append(statement)

    def _add(self, text: str) -> None:
        if text != self._last:  # a batch after the batch before
            self.lines.append(text)
        self._last = text

    def text(self, *, is_populated: bool) -> str:
        """Return the whole, with what has to be known before reading it."""
        plan, database = self.plan, self.plan.database
        head = _HEAD.format(
            version=__version__,
            environment=plan.environment,
            address=f"{database.user}@{database.host}:{database.port}/{database.name}",
            before=plan.revision_from or "an empty database",
            after=plan.revision_to,
            digest=plan.digest,
            rows="in use, with one user" if is_populated else "without a row",
            timescale=_TIMESCALE if database.timescaledb else "",
        )
        heading = [f"-- {line}".rstrip() for line in head.splitlines()]
        return "\n".join([*heading, "", "-- 0. the journal", *self.lines]) + "\n"


def is_populated(session: Session) -> bool:
    """Tell whether the database has a row, which decides how a revision is carried out."""
    with session.reading():
        return any(
            catalog.relation_exists(session, table) and not catalog.table_is_empty(session, table)
            for table in TABLES_AT_START
        )


@contextmanager
def stand_in(
    profile: Profile, script: Script, *, is_populated: bool
) -> Iterator[tuple[Profile, Callable[[str], Session], Session]]:
    """Lend a database of the same revision on the embedded server, with a session that is heard.

    Raises: EmbeddedServerError, where that server is not installed.
    """
    server = embedded.default_cluster()
    server.start()
    try:
        with throwaway.lent(server) as conninfo:
            with closing(throwaway.opened(conninfo)) as before:
                rehearsal.build(before, script.plan.revision_from, is_populated=is_populated)
            heard = RecordingSession(throwaway.opened(conninfo).connection, script.note)
            try:
                yield (
                    _harmless(profile, conninfo),
                    lambda name: connect.opened(conninfo, application_name=name),
                    heard,
                )
            finally:
                heard.close()
    finally:
        server.stop()


def _harmless(profile: Profile, conninfo: str) -> Profile:
    """Return the profile with another database: no backup, no rehearsal, nobody refused."""
    return replace(
        profile,
        url=SecretStr(conninfo),
        url_env=None,
        service=None,
        password_command=None,
        operators=(),
        backups=Backups(policy="never"),
        old_release=OldRelease(rehearse=False),
        lock_budget=timedelta(minutes=1),
        on_failure="stop",
    )
