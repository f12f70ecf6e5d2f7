"""Chunk interval, compression and retention of a hypertable: read back, compared, changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from opssight_migrate.postgres import timescale
from opssight_migrate.postgres.locks import Door, Wanted
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import Offer
from opssight_migrate.settings.tables import TimeSeries

_INTERVAL = """
SELECT time_interval FROM timescaledb_information.dimensions
 WHERE hypertable_schema = 'public' AND hypertable_name = %s AND dimension_number = 1
"""
_LAYOUT = """
SELECT (SELECT string_agg(attname::text, ', ' ORDER BY segmentby_column_index)
          FROM timescaledb_information.compression_settings
         WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s
           AND segmentby_column_index IS NOT NULL),
       (SELECT string_agg(attname || CASE WHEN orderby_asc THEN '' ELSE ' DESC' END, ', '
                          ORDER BY orderby_column_index)
          FROM timescaledb_information.compression_settings
         WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s
           AND orderby_column_index IS NOT NULL)
"""
# What a job is configured with, not what somebody asked for: if_not_exists only warns of another.
_JOB = """
SELECT job_id, (config->>%(key)s)::interval, scheduled FROM timescaledb_information.jobs
 WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s AND proc_name = %(procedure)s
"""
_COMPRESSION, _COMPRESS_AFTER = "policy_compression", "compress_after"
_RETENTION, _DROP_AFTER = "policy_retention", "drop_after"
_SCHEDULED = "SELECT {alter_job}(%s, scheduled => %s)"
_HAS_ROW_SECURITY = """
SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass('public.' || quote_ident(%s))
"""
_OLD_LAYOUT = (
    "ALTER TABLE {table} SET (timescaledb.compress, timescaledb.compress_segmentby = {segment_by},"
    " timescaledb.compress_orderby = {order_by})"
)
_NEW_LAYOUT = (
    "ALTER TABLE {table} SET (timescaledb.enable_columnstore, timescaledb.segmentby = {segment_by},"
    " timescaledb.orderby = {order_by})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policies of one hypertable. None: there is none of that kind.

    ``held``: the jobs are there and do not run, since an adopted chunk must stay whole.
    """

    chunk_interval: timedelta | None
    compress_after: timedelta | None = None
    segment_by: str | None = None
    order_by: str | None = None
    retain: timedelta | None = None
    held: bool = False

    def differences(self, found: Policies) -> list[str]:
        """Say how ``found`` differs from these, in words; empty where it does not."""
        pairs = (
            ("chunk interval", self.chunk_interval, found.chunk_interval),
            ("compression after", self.compress_after, found.compress_after),
            ("compression segmented by", self.segment_by, found.segment_by),
            ("compression ordered by", self.order_by, found.order_by),
            ("retention", self.retain, found.retain),
        )
        told = [
            f"{what} is {_text(is_)}, not {_text(wanted)}"
            for what, wanted, is_ in pairs
            if wanted != is_
        ]
        if self.held != found.held and (self.compress_after or self.retain):
            told.append("policies are held" if found.held else "policies run, and should wait")
        return told


def _text(value: timedelta | str | None) -> str:
    if isinstance(value, timedelta) and value % timedelta(days=1) == timedelta(0):
        return f"{value.days} days"
    return "off" if value is None else str(value)


def configured(settings: TimeSeries, table: str, *, held: bool) -> Policies:
    """Return what the settings say of a table; ``held`` while its adopted chunk must stay whole."""
    return Policies(
        chunk_interval=settings.chunk_interval,
        compress_after=getattr(settings.compress_after, table),
        segment_by=settings.segment_by,
        order_by=settings.order_by.removesuffix(" ASC"),
        retain=getattr(settings.retain, table),
        held=held,
    )


def possible(session: Session, offer: Offer, table: str, wanted: Policies) -> Policies:
    """Return those of ``wanted`` that this server can give to this table."""
    if not offer.compresses:
        return Policies(chunk_interval=wanted.chunk_interval)
    if session.scalar(_HAS_ROW_SECURITY, (table,)):
        return Policies(
            chunk_interval=wanted.chunk_interval, retain=wanted.retain, held=wanted.held
        )
    return wanted


def read(session: Session, table: str) -> Policies:
    """Read back what stands."""
    compression = _job(session, table, _COMPRESSION, _COMPRESS_AFTER)
    retention = _job(session, table, _RETENTION, _DROP_AFTER)
    layout = session.row(_LAYOUT, {"table": table}) or (None, None)
    jobs = [job for job in (compression, retention) if job is not None]
    return Policies(
        chunk_interval=session.scalar(_INTERVAL, (table,)),
        compress_after=compression.after if compression else None,
        segment_by=layout[0],
        order_by=layout[1],
        retain=retention.after if retention else None,
        held=bool(jobs) and not any(job.scheduled for job in jobs),
    )


def settle(session: Session, door: Door, offer: Offer, table: str, wanted: Policies) -> None:
    """Make the table's policies as wanted, whatever stood before; what is right is left alone."""
    found = read(session, table)
    place = sql.Literal(f"public.{table}")
    if found.chunk_interval != wanted.chunk_interval:
        call = sql.SQL("SELECT {}({}, {})")
        name = timescale.function(session, "set_chunk_time_interval")
        session.execute(call.format(name, place, sql.Literal(wanted.chunk_interval)))
    layout = (wanted.segment_by, wanted.order_by)
    if wanted.compress_after is not None and (found.segment_by, found.order_by) != layout:
        statement = sql.SQL(_NEW_LAYOUT if offer.has_columnstore else _OLD_LAYOUT).format(
            table=sql.Identifier("public", table),
            segment_by=sql.Literal(wanted.segment_by),
            order_by=sql.Literal(wanted.order_by),
        )
        door.through((Wanted(table),), lambda: _run(session, statement))
    # A job may begin the moment it is there: one that is to wait is held before others see it.
    with session.writing():
        if found.compress_after != wanted.compress_after:
            _compression(session, offer, place, found.compress_after, wanted.compress_after)
        if found.retain != wanted.retain:
            _retention(session, place, found.retain, wanted.retain)
        _schedule(session, table, held=wanted.held)


def _run(session: Session, statement: sql.Composed) -> None:
    session.execute(statement)


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    after: timedelta
    scheduled: bool


def _job(session: Session, table: str, procedure: str, key: str) -> _Job | None:
    row = session.row(_JOB, {"table": table, "procedure": procedure, "key": key})
    return None if row is None else _Job(*row)


def _compression(
    session: Session,
    offer: Offer,
    place: sql.Literal,
    found: timedelta | None,
    wanted: timedelta | None,
) -> None:
    verb = sql.SQL("CALL" if offer.has_columnstore else "SELECT")
    kind = "columnstore" if offer.has_columnstore else "compression"
    after = sql.SQL("after" if offer.has_columnstore else "compress_after")
    if found is not None:
        name = timescale.function(session, f"remove_{kind}_policy")
        session.execute(sql.SQL("{} {}({})").format(verb, name, place))
    if wanted is not None:
        name = timescale.function(session, f"add_{kind}_policy")
        call = sql.SQL("{} {}({}, {} => {})")
        session.execute(call.format(verb, name, place, after, sql.Literal(wanted)))


def _retention(
    session: Session, place: sql.Literal, found: timedelta | None, wanted: timedelta | None
) -> None:
    if found is not None:
        name = timescale.function(session, "remove_retention_policy")
        session.execute(sql.SQL("SELECT {}({})").format(name, place))
    if wanted is not None:
        name = timescale.function(session, "add_retention_policy")
        call = sql.SQL("SELECT {}({}, drop_after => {})")
        session.execute(call.format(name, place, sql.Literal(wanted)))


def _schedule(session: Session, table: str, *, held: bool) -> None:
    alter = sql.SQL(_SCHEDULED).format(alter_job=timescale.function(session, "alter_job"))
    for procedure, key in ((_COMPRESSION, _COMPRESS_AFTER), (_RETENTION, _DROP_AFTER)):
        job = _job(session, table, procedure, key)
        if job is not None and job.scheduled == held:
            session.execute(alter, (job.id, not held))
