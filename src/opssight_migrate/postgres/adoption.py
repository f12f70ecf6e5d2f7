"""A table with rows becomes a hypertable without a copy: it is put aside, and made a chunk.

A new table of the same name takes its place, with all that hung on the old one. Atomically, the
old one is its chunk in the same transaction; TimescaleDB scans it for that, and everybody waits.
Or the new one takes writes at once and the old one is attached right afterwards: nobody waits, and
until then reads see only rows written since. Rows older than the cut that arrive meanwhile go to a
chunk of their own, and from there to where they belong, before the scan: a chunk that is dropped is
locked for everybody who reads the table, and the lock is kept to the end of its transaction. Where
a trigger would see such rows twice, or others point at the table, it is done atomically.

Each piece looks first: the same call goes on from wherever another one died.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from psycopg import sql

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.postgres import carried, catalog, hypertables, references, timescale
from opssight_migrate.postgres.carried import Piece
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.hypertables import ASIDE, Series
from opssight_migrate.postgres.locks import Mode, Wanted
from opssight_migrate.postgres.series_ways import Choice
from opssight_migrate.postgres.session import Session

_PLACEHOLDER = "{}_late"
# Microseconds since 1970, TimescaleDB's own measure. The chunk begins with the day of the first
# row and ends just behind the last.
_RANGE = """
SELECT (EXTRACT(epoch FROM date_trunc('day', min({time}))) * 1000000)::int8,
       (EXTRACT(epoch FROM max({time})) * 1000000)::int8 + 1
  FROM {table} WHERE isfinite({time})
"""
_INFINITE = "SELECT EXISTS (SELECT FROM {table} WHERE {time} IN ('infinity', '-infinity'))"
_TWIN = "CREATE TABLE {table} (LIKE {aside} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)"
_CALLED_ATTACH = "CALL {attach}({table}, {chunk}, {slices}::jsonb)"
_CALLED_CREATE = (
    "SELECT {create}({table}, {slices}::jsonb, schema_name => {schema}, table_name => {name})"
)
_BROUGHT = "INSERT INTO {aside} ({columns}) SELECT {columns} FROM {chunk}"
_LATE = """
SELECT chunk_schema::text, chunk_name::text FROM timescaledb_information.chunks
 WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s
   AND range_start < timestamptz 'epoch' + %(end)s::int8 * interval '1 microsecond'
   AND range_end > timestamptz 'epoch' + %(start)s::int8 * interval '1 microsecond'
 ORDER BY range_start
"""
_WRITABLE = """
SELECT a.attname::text FROM pg_attribute AS a
 WHERE a.attrelid = to_regclass('public.' || quote_ident(%s)) AND a.attnum > 0
   AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_VALID_INBOUND = "ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
_INBOUND = """
SELECT n.nspname::text, o.relname::text, k.conname::text, k.convalidated
  FROM pg_constraint AS k JOIN pg_class AS o ON o.oid = k.conrelid
  JOIN pg_namespace AS n ON n.oid = o.relnamespace
 WHERE k.contype = 'f' AND k.confrelid = to_regclass('public.' || quote_ident(%(table)s))
   AND k.conrelid <> k.confrelid AND n.nspname NOT LIKE '\\_timescaledb%%'
"""


def prepare(ddl: Ddl, series: Series) -> None:
    """Build, while everybody works on, the index that becomes the hypertable's primary key."""
    if series.time not in hypertables.key_columns(ddl.session, series.table):
        ddl.index(hypertables.wide_key(series), series.table, ("id", series.time), unique=True)


def adopt(ddl: Ddl, series: Series, choice: Choice) -> None:
    """Make the table a hypertable whose first chunk is the table itself.

    Raises: StepFailedError, and nothing is changed, where something could not be carried over.
    """
    session, table = ddl.session, series.table
    if not timescale.is_hypertable(session, table):
        prepare(ddl, series)
        put_aside(ddl)
        cut = _CutOver(ddl=ddl, series=series, choice=choice)
        wanted = (Wanted(table), *(Wanted(name) for name in inbound_tables(session, table)))
        ddl.transaction(f"HYPERTABLE {table}", wanted, cut.over)
    if hypertables.waits_aside(session, table):
        cut = _CutOver(ddl=ddl, series=series, choice=choice)
        for late in cut.late():
            what = f"LATE ROWS {late.name}"
            ddl.transaction(what, (late,), partial(cut.bring, late))
        # In this mode nobody else makes a chunk, and only who wants to waits.
        alone = Wanted(table, Mode.SHARE_UPDATE_EXCLUSIVE)
        ddl.transaction(f"ATTACH {table}", (alone,), cut.attach)
    finish(ddl, series)


def put_aside(ddl: Ddl) -> None:
    """Make the schema in which adopted tables live, in the hands of the owner of ``users``."""
    owner = catalog.owner_of(ddl.session, "users")
    ddl.session.execute(
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
            sql.Identifier(ASIDE), sql.Identifier(str(owner))
        )
    )


def inbound(ddl: Ddl, table: str) -> list[tuple[str, str, str, bool]]:
    """Return the foreign keys of others to the table: schema, table, name, whether validated."""
    return [(a, b, c, bool(d)) for a, b, c, d in ddl.session.rows(_INBOUND, {"table": table})]


def inbound_tables(session: Session, table: str) -> tuple[str, ...]:
    """Return the tables in ``public`` of which a foreign key points at the table, each once."""
    rows = session.rows(_INBOUND, {"table": table})
    return tuple(sorted({str(name) for schema, name, *_ in rows if schema == "public"}))


def is_unfinished(session: Session, table: str) -> bool:
    """Tell whether a foreign key of the adopted table is not yet made or validated on the new."""
    for key in references.of_table(session, table, ASIDE):
        state = catalog.constraint_state(session, table, key.name)
        if not key.name[0].isdigit() and (state is None or not state.validated):
            return True
    rows = session.rows(_INBOUND, {"table": table})
    return any(not validated for *_, validated in rows)


def finish(ddl: Ddl, series: Series) -> None:
    """Add the foreign keys that the chunk has, and validate them while everybody works on."""
    for key in references.of_table(ddl.session, series.table, ASIDE):
        # TimescaleDB numbers the copies that it gives to a chunk: "1_2_metrics_user_id_fkey".
        if not key.name[0].isdigit():
            ddl.remade(series.table, key)
    validate_inbound(ddl, series)


def validate_inbound(ddl: Ddl, series: Series) -> None:
    """Validate the foreign keys of others to the table, while everybody works on."""
    for schema, other, name, validated in inbound(ddl, series.table):
        if not validated:
            wanted = (Wanted(other, Mode.SHARE_UPDATE_EXCLUSIVE),) if schema == "public" else ()
            statement = sql.SQL(_VALID_INBOUND).format(
                table=sql.Identifier(schema, other), name=sql.Identifier(name)
            )
            ddl.transaction(f"VALIDATE CONSTRAINT {name}", wanted, _Run(ddl, statement))


@dataclass(frozen=True, slots=True)
class _Run:
    ddl: Ddl
    statement: sql.Composed

    def __call__(self) -> None:
        self.ddl.run(self.statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CutOver:
    """What happens under the locks."""

    ddl: Ddl
    series: Series
    choice: Choice

    def over(self) -> None:
        """Put a new table in the place of the old one, with all that hangs on it."""
        session, series = self.ddl.session, self.series
        hypertables.widen_key(session, series)
        before = carried.pieces(session, series.table)
        start, end = self._range(series.place)
        replace_by_twin(self.ddl, series, before)
        hypertables.make(session, series)
        carried.revoke_unasked(session, series.table, before)
        carried.carry(session, series.table, carried.but(before, carried.FOREIGN_KEY))
        bound = carried.of(before, carried.INBOUND, carried.TRIGGER)
        if self.choice.write_available and not bound:
            self._create(_PLACEHOLDER.format(series.table), start, end)
            width = round(series.chunk_interval.total_seconds() * 1_000_000)
            self._create(f"{series.table}_next", end, (end // width + 1) * width)
        else:
            self._adopt(start, end)
        prove(session, series.table, carried.but(before, carried.FOREIGN_KEY))

    def late(self) -> tuple[Wanted, ...]:
        """Return the chunks that lie where the old table belongs, as locks: of rows come since."""
        start, end = self._range(self._aside)
        found = self.ddl.session.rows(
            _LATE, {"table": self.series.table, "start": start, "end": end}
        )
        return tuple(Wanted(name, schema=schema) for schema, name in found)

    def bring(self, late: Wanted) -> None:
        """Bring the rows of such a chunk to the old table, and drop it."""
        session = self.ddl.session
        names = {"aside": self._aside, "chunk": late.place}
        columns = writable_columns(session, self.series.table)
        session.execute(sql.SQL(_BROUGHT).format(columns=columns, **names))
        session.execute(sql.SQL("DROP TABLE {}").format(late.place))

    def attach(self) -> None:
        """Make the old table a chunk; what came since it was asked for late rows comes along."""
        session = self.ddl.session
        for late in self.late():
            session.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(late.place))
            self.bring(late)
        self._adopt(*self._range(self._aside))

    @property
    def _aside(self) -> sql.Identifier:
        return sql.Identifier(ASIDE, self.series.table)

    def _range(self, place: sql.Identifier) -> tuple[int, int]:
        session, series = self.ddl.session, self.series
        names = {"table": place, "time": sql.Identifier(series.time)}
        if session.scalar(sql.SQL(_INFINITE).format(**names)):
            raise StepFailedError(
                f"{series.table} has rows at infinity, which no chunk can hold",
                where=f"{series.table}.{series.time}",
                hint=f"give them a time: those WHERE NOT isfinite({series.time})",
            )
        start, end = session.rows(sql.SQL(_RANGE).format(**names))[0]
        return int(start), int(end)

    def _adopt(self, start: int, end: int) -> None:
        session, series = self.ddl.session, self.series
        session.execute(
            sql.SQL(_CALLED_ATTACH).format(
                attach=timescale.function(session, "attach_chunk"),
                table=sql.Literal(f"public.{series.table}"),
                chunk=sql.Literal(f'{ASIDE}."{series.table}"'),
                slices=self._slices(start, end),
            )
        )

    def _create(self, name: str, start: int, end: int) -> None:
        session = self.ddl.session
        session.execute(
            sql.SQL(_CALLED_CREATE).format(
                create=timescale.internal(session, "create_chunk"),
                table=sql.Literal(f"public.{self.series.table}"),
                slices=self._slices(start, end),
                schema=sql.Literal(ASIDE),
                name=sql.Literal(name),
            )
        )

    def _slices(self, start: int, end: int) -> sql.Literal:
        return sql.Literal(f'{{"{self.series.time}": [{start}, {end}]}}')


def writable_columns(session: Session, table: str) -> sql.Composed:
    """Return the columns that an INSERT may give, as a list."""
    names = [str(name) for (name,) in session.rows(_WRITABLE, (table,))]
    return sql.SQL(", ").join(map(sql.Identifier, names))


def replace_by_twin(ddl: Ddl, series: Series, before: tuple[Piece, ...]) -> None:
    """Move the table to the schema aside, and make an empty one like it, with a wide key."""
    session = ddl.session
    aside = sql.Identifier(ASIDE, series.table)
    carried.let_go(session, before)
    session.execute(
        sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(series.place, sql.Identifier(ASIDE))
    )
    session.execute(sql.SQL(_TWIN).format(table=series.place, aside=aside))
    hypertables.add_key(session, series)


def prove(session: Session, table: str, before: tuple[Piece, ...]) -> None:
    """Compare what hangs on the table with what hung on it.

    Raises: StepFailedError naming the first difference.
    """
    now = carried.but(carried.pieces(session, table), carried.FOREIGN_KEY)
    if wrong := carried.lacking(before, now):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise StepFailedError(f"{table}: {wrong[0]}{more}", where=table)
