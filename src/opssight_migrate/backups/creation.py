"""Making a backup: one snapshot, dumped and digested at the same time, sealed, described."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from pydantic import SecretStr

from opssight_migrate.backups import (
    comparison,
    compression,
    parts,
    passphrase,
    room,
    scratch,
    seal,
    shelf,
)
from opssight_migrate.backups import manifest as manifests
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.dumping import Dumping, Stream
from opssight_migrate.backups.manifest import (
    DumpPart,
    Manifest,
    Origin,
    Properties,
    Sealing,
    TableFacts,
)
from opssight_migrate.backups.parts import Part
from opssight_migrate.backups.restore import Restoring
from opssight_migrate.backups.shelf import Shelf, Shelved
from opssight_migrate.model.events import BackupMade, BackupProgressed, BackupStarted, Emit
from opssight_migrate.model.report import utc_now
from opssight_migrate.postgres import catalog, clients, connect, digest, properties, siblings, sizes
from opssight_migrate.postgres.session import Session

_TELL_EVERY_S = 0.5
# With so few cores, helpers of the digest would only take them from pg_dump, which is the slower.
_FEW = 2
_ALONE = "SET LOCAL max_parallel_workers_per_gather = 0"
_SNAPSHOT = "SELECT pg_export_snapshot()"
_WAL = "SELECT pg_current_wal_lsn()::text"
_TIMELINE = """
SELECT CASE WHEN has_function_privilege('pg_control_checkpoint()', 'execute')
            THEN (SELECT timeline_id FROM pg_control_checkpoint()) END
"""
_USES_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What kind of backup is wanted. Without ``recipients`` or ``passphrase`` it is plain.

    ``jobs`` None is as many pg_dump side by side as pay; ``pulse`` is called a few times a second
    and may raise to give the backup up. ``elsewhere`` is a session on another server, to prove it
    there; None proves it on the server that is dumped.
    """

    environment: str
    tool: str
    shelf: Shelf
    recipients: tuple[str, ...] = ()
    passphrase: SecretStr | None = None
    manifest_key: SecretStr | None = None
    proves: bool = False
    elsewhere: Session | None = None
    jobs: int | None = None
    pulse: Callable[[], None] = lambda: None


def uses_tls(session: Session) -> bool:
    """Tell whether the session is encrypted, so that a client program must be able to."""
    return bool(session.scalar(_USES_TLS))


def create(session: Session, order: Order, emit: Emit) -> Shelved:
    """Dump the session's database onto the shelf; the session must be in no transaction.

    Raises: BackupError, ClientToolError, PrivilegeError, NoRoomError; nothing that looks whole is
    left then.
    """
    started = time.monotonic()
    seal.refuse_bad_recipients(order.recipients)
    tools = clients.for_dump(session.server_version // 10_000, over_tls=uses_tls(session))
    room.refuse_full_shelf(session, order.shelf, order.environment)
    lock = _lock_of(order)
    stem = order.shelf.new_name(order.environment)
    with session.reading(), ExitStack() as stack:
        draft = _described(session, order, tools.version, lock)
        columns = digest.columns_by_table(session)
        dealt = sizes.table_bytes(session)
        jobs = order.jobs or parts.jobs_for(dealt)
        emit(
            BackupStarted(
                path=str(order.shelf.directory / stem),
                tables=len(columns),
                sealed=draft.is_sealed,
                proves=order.proves,
                jobs=jobs,
            )
        )
        proof = stack.enter_context(_proof(session, tools, order)) if order.proves else None
        place = stack.enter_context(order.shelf.laying(stem))
        snapshot = session.scalar(_SNAPSHOT)
        reached = siblings.for_program(session)

        def begin(part: Part) -> Stream:
            name = _file_name(stem, part, is_sealed=draft.is_sealed)
            sink = seal.Counted(place.part(name))
            restoring = proof.restoring() if proof else None
            source = Dump(tools, reached, snapshot, tee=restoring, options=part.options)
            return Stream(part=part, name=name, source=source, sink=sink, restoring=restoring)

        dumping = Dumping(parts.cut(dealt, jobs), begin, lock.recipients)
        stack.callback(dumping.close)
        tables = _digested(session, columns, dumping, _Progress(order, emit, len(columns), started))
        if proof is not None:
            comparison.refuse_differences(proof.host, proof.database, tables)
        manifest = _finished(draft, order, tables, dumping.streams)
        content = manifest.to_json().encode()
        place.finish(content)
    made = shelf.taken(order.shelf.directory / f"{stem}{manifests.SUFFIX}")
    emit(
        BackupMade(
            path=str(made.path),
            size_bytes=manifest.bytes,
            rows=manifest.rows,
            sha256=made.manifest_sha256,
            proven=order.proves,
            elapsed_s=time.monotonic() - started,
        )
    )
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lock:
    """Whom the parts are sealed to, and what of it stands in the manifest."""

    sealing: Sealing
    recipients: tuple[str, ...] = ()
    sealed_key: str | None = None


def _lock_of(order: Order) -> _Lock:
    if order.recipients:
        return _Lock(sealing="keys", recipients=order.recipients)
    if order.passphrase is None:
        return _Lock(sealing="plain")
    public, sealed = passphrase.new_key(order.passphrase)
    return _Lock(sealing="passphrase", recipients=(public,), sealed_key=sealed)


def _file_name(stem: str, part: Part, *, is_sealed: bool) -> str:
    name = f"{stem}.{part.name}" if part.name else stem
    return f"{name}.dump{compression.SUFFIX}{seal.SUFFIX if is_sealed else ''}"


class _Progress:
    """Tells how far a backup is, and feels the pulse of whoever ordered it."""

    def __init__(self, order: Order, emit: Emit, tables: int, started: float) -> None:
        self._order = order
        self._emit = emit
        self._tables = tables
        self._started = started
        self._told = started

    def tell(self, tables_done: int, size_bytes: int) -> None:
        self._order.pulse()
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            self._emit(
                BackupProgressed(
                    tables_done=tables_done,
                    tables_total=self._tables,
                    size_bytes=size_bytes,
                    elapsed_s=now - self._started,
                )
            )


def _digested(
    session: Session, columns: dict[str, tuple[str, ...]], dumping: Dumping, progress: _Progress
) -> dict[str, TableFacts]:
    """Digest every table while it is dumped, and wait for the dump; raise what went wrong."""
    facts: dict[str, TableFacts] = {}
    if dumping.width <= _FEW:
        session.execute(_ALONE)
    for table, names in columns.items():
        found = digest.digest_table(session, table, names)
        facts[table] = TableFacts(columns=names, rows=found.rows, digest=found.value)
        dumping.is_done(0)
        progress.tell(len(facts), dumping.size_bytes)
    while not dumping.is_done(_TELL_EVERY_S / 2):
        progress.tell(len(facts), dumping.size_bytes)
    return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """A scratch database on the server of ``host``, and how a part is restored into it."""

    host: Session
    database: str
    restoring: Callable[[], Restoring]


@contextmanager
def _proof(session: Session, tools: clients.Clients, order: Order) -> Iterator[_Proof]:
    host = order.elsewhere or session
    major = host.server_version // 10_000
    restorer = clients.for_restore(major, tools.major, over_tls=uses_tls(host))
    like = properties.read_properties(session) if order.elsewhere is None else scratch.PLAIN
    with scratch.scratch(host, like) as database:
        reached = siblings.for_program(host, database)
        yield _Proof(
            host=host,
            database=database,
            restoring=lambda: Restoring(restorer, reached, server_major=major, as_owner=False),
        )


def _described(session: Session, order: Order, client_version: str, lock: _Lock) -> Manifest:
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
        table_bytes=sizes.stored_bytes(session),
        sealing=lock.sealing,
        sealed_key=lock.sealed_key,
        parts=(DumpPart(name="", holds="all", bytes=0, sha256=""),),
        proven=False,
    )


def _finished(
    draft: Manifest, order: Order, tables: dict[str, TableFacts], streams: Sequence[Stream]
) -> Manifest:
    written = tuple(
        DumpPart(
            name=stream.name,
            holds=stream.part.holds,
            bytes=stream.sink.size_bytes,
            sha256=stream.sink.sha256,
        )
        for stream in streams
    )
    changes = {"tables": tables, "proven": order.proves, "parts": written}
    return draft.model_copy(update=changes).signed(order.manifest_key)
