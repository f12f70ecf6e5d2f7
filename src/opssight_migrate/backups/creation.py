"""Making a backup: one snapshot, dumped and digested at the same time, sealed, described."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from pydantic import SecretStr

from opssight_migrate.backups import comparison, scratch, seal
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.manifest import DumpFile, Manifest, Origin, Properties, TableFacts
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.model.events import BackupMade, BackupProgressed, BackupStarted, Emit
from opssight_migrate.model.report import utc_now
from opssight_migrate.postgres import catalog, clients, connect, digest, properties, siblings
from opssight_migrate.postgres.session import Session

_TELL_EVERY_S = 0.5
_SNAPSHOT = "SELECT pg_export_snapshot()"
_WAL = "SELECT pg_current_wal_lsn()::text"
_TIMELINE = """
SELECT CASE WHEN has_function_privilege('pg_control_checkpoint()', 'execute')
            THEN (SELECT timeline_id FROM pg_control_checkpoint()) END
"""
_USES_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What kind of backup is wanted. No ``recipients`` means a plain file.

    ``pulse`` is called a few times a second and may raise to give the backup up. ``elsewhere`` is a
    session on another server, to prove it there; None proves it on the server that is dumped.
    """

    environment: str
    tool: str
    shelf: Shelf
    recipients: tuple[str, ...]
    manifest_key: SecretStr | None = None
    proves: bool = False
    elsewhere: Session | None = None
    pulse: Callable[[], None] = lambda: None


def uses_tls(session: Session) -> bool:
    """Tell whether the session is encrypted, so that a client program must be able to."""
    return bool(session.scalar(_USES_TLS))


def create(session: Session, order: Order, emit: Emit) -> Shelved:
    """Dump the session's database onto the shelf; the session must be in no transaction.

    Raises: BackupError, ClientToolError, PrivilegeError; nothing that looks whole is left then.
    """
    started = time.monotonic()
    seal.refuse_bad_recipients(order.recipients)
    server_major = session.server_version // 10_000
    tools = clients.for_dump(server_major, over_tls=uses_tls(session))
    name = order.shelf.new_name(order.environment)
    dump_name = f"{name}.dump" + (seal.SUFFIX if order.recipients else "")
    with session.reading():
        draft = _described(session, order, tools.version, dump_name)
        columns = digest.columns_by_table(session)
        path = order.shelf.directory / dump_name
        emit(
            BackupStarted(
                path=str(path),
                tables=len(columns),
                sealed=bool(order.recipients),
                proves=order.proves,
            )
        )
        with ExitStack() as stack:
            proof = stack.enter_context(_proof(session, tools, order)) if order.proves else None
            file = stack.enter_context(order.shelf.writing(dump_name))
            source = Dump(
                tools,
                siblings.for_program(session),
                session.scalar(_SNAPSHOT),
                tee=proof.restoring if proof else None,
            )
            stack.callback(source.kill)
            sink = seal.Counted(file)
            work = _Work(source, sink, order, emit, len(columns))
            tables = work.done(session, columns, started)
            if proof is not None:
                proof.restoring.finish()
                comparison.refuse_differences(proof.host, proof.database, tables)
    manifest = _finished(draft, order, tables, sink)
    made = order.shelf.put_manifest(manifest, name)
    emit(
        BackupMade(
            path=str(made.path),
            size_bytes=sink.size_bytes,
            rows=manifest.rows,
            sha256=made.manifest_sha256,
            proven=order.proves,
            elapsed_s=time.monotonic() - started,
        )
    )
    return made


class _Work:
    """The dump in a thread of its own while this one digests the same snapshot."""

    def __init__(
        self, source: Dump, sink: seal.Counted, order: Order, emit: Emit, tables: int
    ) -> None:
        self._source = source
        self._sink = sink
        self._order = order
        self._emit = emit
        self._tables = tables
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._pump, daemon=True)

    def done(
        self, session: Session, columns: dict[str, tuple[str, ...]], started: float
    ) -> dict[str, TableFacts]:
        """Return the facts of every table once the dump is whole; raise what went wrong."""
        self._thread.start()
        facts: dict[str, TableFacts] = {}
        told = started
        try:
            for table, names in columns.items():
                found = digest.digest_table(session, table, names)
                facts[table] = TableFacts(columns=names, rows=found.rows, digest=found.value)
                if not self._thread.is_alive() and self._error is not None:
                    break
                self._order.pulse()
                told = self._tell(len(facts), started, told)
            while self._thread.is_alive():
                self._thread.join(_TELL_EVERY_S / 2)
                self._order.pulse()
                told = self._tell(len(facts), started, told)
        except BaseException:
            self._source.kill()
            self._thread.join()
            raise
        if self._error is not None:
            raise self._error
        return facts

    def _tell(self, tables_done: int, started: float, told: float) -> float:
        now = time.monotonic()
        if now - told < _TELL_EVERY_S:
            return told
        self._emit(
            BackupProgressed(
                tables_done=tables_done,
                tables_total=self._tables,
                size_bytes=self._source.size_bytes,
                elapsed_s=now - started,
            )
        )
        return now

    def _pump(self) -> None:
        try:
            seal.seal(self._source, self._sink, self._order.recipients)
        except BaseException as error:  # told in the thread that waits for this one
            self._error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    host: Session
    database: str
    restoring: Restoring


@contextmanager
def _proof(session: Session, tools: clients.Clients, order: Order) -> Iterator[_Proof]:
    host = order.elsewhere or session
    major = host.server_version // 10_000
    restorer = clients.for_restore(major, tools.major, over_tls=uses_tls(host))
    like = properties.read_properties(session) if order.elsewhere is None else scratch.PLAIN
    with scratch.scratch(host, like) as database:
        restoring = Restoring(
            restorer,
            siblings.for_program(host, database),
            server_major=major,
            as_owner=False,
        )
        try:
            yield _Proof(host=host, database=database, restoring=restoring)
        finally:
            restoring.kill()


def _described(session: Session, order: Order, client_version: str, dump_name: str) -> Manifest:
    facts = connect.facts(session)
    return Manifest(
        tool=order.tool,
        made_at=utc_now(),
        environment=order.environment,
        revision=catalog.current_revision(session),
        origin=Origin(
            host=facts.host,
            port=facts.port,
            name=facts.name,
            system_identifier=facts.system_identifier,
            database_oid=facts.database_oid,
            server_version=facts.server_version,
        ),
        client_version=client_version,
        wal_position=session.scalar(_WAL),
        timeline=session.scalar(_TIMELINE),
        properties=Properties(**asdict(properties.read_properties(session))),
        tables={},
        file=DumpFile(name=dump_name, bytes=0, sha256="", sealed=bool(order.recipients)),
        proven=False,
    )


def _finished(
    draft: Manifest, order: Order, tables: dict[str, TableFacts], sink: seal.Counted
) -> Manifest:
    file = draft.file.model_copy(update={"bytes": sink.size_bytes, "sha256": sink.sha256})
    changes = {"tables": tables, "proven": order.proves, "file": file}
    return draft.model_copy(update=changes).signed(order.manifest_key)
