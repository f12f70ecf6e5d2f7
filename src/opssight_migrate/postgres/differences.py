"""Which rows of a table are in one database and not in another of the same server, by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from opssight_migrate.postgres import digest, ranges
from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.sql import SQL, Composable, Composed, Identifier, Literal

_KEY = """
SELECT a.attname::text
  FROM pg_index AS x, unnest(x.indkey) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_attribute AS a ON a.attnum = k.attnum
 WHERE x.indrelid = to_regclass('public.' || quote_ident(%(table)s))
   AND a.attrelid = x.indrelid AND x.indisprimary
 ORDER BY k.place
"""
_SHOWN = 5
# A longer list of keys is no query any more that a person can read or paste.
_MOST_PIECES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Rows that differ in one way: how many, the first keys, and the query that lists them.

    ``is_exact``: false where they are so scattered that the query lists the rows between, too.
    """

    rows: int
    first: tuple[str, ...]
    query: str
    is_exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How a table differs from its counterpart. None where no row differs in that way.

    ``added`` and ``changed`` are rows of this table, ``removed`` rows of the counterpart alone.
    """

    added: Keys | None
    changed: Keys | None
    removed: Keys | None


def between(here: Session, there: Session, table: str, columns: Sequence[str]) -> Difference | None:
    """Compare a table of ``here`` with that of ``there``, row by row; None where all are equal.

    Both sessions hold a snapshot. Only ranges of keys whose digests differ are read row by row.
    """
    key = tuple(name for (name,) in here.rows(_KEY, {"table": table}))
    has_ranges = bool(key) and all(digest.has_integer_key(one, table) for one in (here, there))
    added, changed, removed = (_Rows(here, table, columns, key, has_ranges) for _ in range(3))
    for lo, hi, is_equal in _parts(here, there, table, columns, has_ranges=has_ranges):
        if is_equal:
            for rows in (added, changed, removed):
                rows.interrupt()
            continue
        ours = _sorted(digest.row_hashes(here, table, columns, key, lo=lo, hi=hi), has_ranges)
        theirs = _sorted(digest.row_hashes(there, table, columns, key, lo=lo, hi=hi), has_ranges)
        _sort_out(ours, theirs, added, changed, removed)
    found = Difference(added=added.keys(), changed=changed.keys(), removed=removed.keys())
    return found if found.added or found.changed or found.removed else None


_Hashes = list[tuple[tuple[str, ...], str]]


def _parts(
    here: Session, there: Session, table: str, columns: Sequence[str], *, has_ranges: bool
) -> Iterable[tuple[int | None, int | None, bool]]:
    """Return the ranges of keys, in their order, each with whether it is equal on both sides."""
    bounds = [
        found for one in (here, there) if has_ranges and (found := digest.key_bounds(one, table))
    ]
    if not bounds:
        sums = [digest.digest_table(one, table, columns) for one in (here, there)]
        return [(None, None, (sums[0].rows, sums[0].value) == (sums[1].rows, sums[1].value))]
    lo, hi = min(low for low, _ in bounds), max(high for _, high in bounds)
    width = (hi - lo) // ranges.RANGES + 1
    ours, theirs = (
        {
            place: (rows, value)
            for place, rows, value, _ in digest.digest_by_key(one, table, columns, lo, width)
        }
        for one in (here, there)
    )
    return [
        (lo + place * width, lo + (place + 1) * width, ours.get(place) == theirs.get(place))
        for place in sorted(ours.keys() | theirs.keys())
    ]


def _sorted(found: _Hashes, by_number: bool) -> _Hashes:
    return sorted(found, key=lambda one: int(one[0][0])) if by_number else sorted(found)


def _sort_out(ours: _Hashes, theirs: _Hashes, added: _Rows, changed: _Rows, removed: _Rows) -> None:
    """Tell apart what is new, what is other and what is gone; equal keys are matched once each."""
    left: dict[tuple[str, ...], list[str]] = {}
    for key, value in theirs:
        left.setdefault(key, []).append(value)
    for key, value in ours:
        then = left.get(key)
        before = then.pop() if then else None
        added.see(key, is_in=before is None)
        changed.see(key, is_in=before not in (None, value))
    for key, _ in theirs:
        remains = left[key]
        removed.see(key, is_in=bool(remains))
        if remains:
            remains.pop()


@dataclass(slots=True)
class _Rows:
    """Rows of one kind, put together to a condition as they come in the order of their key."""

    session: Session
    table: str
    columns: Sequence[str]
    key: Sequence[str]
    is_numbered: bool
    rows: int = 0
    first: list[str] = field(default_factory=list[str])
    pieces: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=list[tuple[tuple[str, ...], tuple[str, ...]]]
    )
    is_open: bool = False

    def see(self, key: tuple[str, ...], *, is_in: bool) -> None:
        """Take down one row of the table, whether it is of this kind or not."""
        if not is_in:
            self.is_open = False
            return
        self.rows += 1
        if len(self.first) < _SHOWN:
            self.first.append(", ".join(key))
        if self.is_open and self.is_numbered and len(self.key) == 1:
            self.pieces[-1] = (self.pieces[-1][0], key)
        else:
            self.pieces.append((key, key))
        self.is_open = True

    def interrupt(self) -> None:
        """Say that other rows stand between what came and what comes."""
        self.is_open = False

    def keys(self) -> Keys | None:
        """Return what was found; None for nothing."""
        if not self.rows:
            return None
        is_exact = len(self.pieces) <= _MOST_PIECES
        if not is_exact and self.is_numbered and len(self.key) == 1:
            self.pieces = [(self.pieces[0][0], self.pieces[-1][1])]
        table = Identifier("public", self.table)
        query = SQL("SELECT * FROM {} AS t").format(table)
        if is_exact or len(self.pieces) == 1:
            query += SQL(" WHERE ") + self._condition()
        return Keys(
            rows=self.rows,
            first=tuple(self.first) if self.key else (),
            query=query.as_string(self.session.connection),
            is_exact=is_exact,
        )

    def _condition(self) -> Composable:
        if self.is_numbered and len(self.key) == 1:
            return SQL(" OR ").join(self._run(*piece) for piece in self.pieces)
        names: list[Composable] = [
            SQL("{}::text").format(Identifier("t", name)) for name in self.key
        ] or [digest.hash_condition(self.session, self.table, self.columns)]
        values = [SQL("({})").format(SQL(", ").join(map(Literal, key))) for key, _ in self.pieces]
        return SQL("({}) IN ({})").format(SQL(", ").join(names), SQL(", ").join(values))

    def _run(self, first: tuple[str, ...], last: tuple[str, ...]) -> Composed:
        name = Identifier(self.key[0])
        if first == last:
            return SQL("{} = {}").format(name, Literal(int(first[0])))
        return SQL("{} BETWEEN {} AND {}").format(
            name, Literal(int(first[0])), Literal(int(last[0]))
        )
