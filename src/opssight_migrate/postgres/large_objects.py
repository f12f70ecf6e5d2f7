"""The large objects of a database made those of another, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterator

from opssight_migrate.postgres.session import Session

_PIECE = 1 << 20
_WRITABLE = 0x20000  # INV_WRITE; Source: PostgreSQL 18, src/include/libpq/libpq-fs.h.
_ALL = "SELECT oid FROM pg_largeobject_metadata"
_OF_OTHERS = """
SELECT oid, pg_get_userbyid(lomowner)::text FROM pg_largeobject_metadata
 WHERE NOT pg_has_role(lomowner, 'USAGE') ORDER BY oid
"""
_READ = "SELECT lo_get(%s, %s, %s)"
_WRITE = "SELECT lo_put(%s, %s, %s)"
_EMPTIED = "SELECT lo_truncate64(lo_open(%s, %s), 0)"


def of_others(session: Session) -> dict[int, str]:
    """Return those that our role can neither read nor replace, and whose they are."""
    return dict(session.rows(_OF_OTHERS))


def replace(live: Session, wanted: Session) -> int:
    """Make those of ``live`` what those of ``wanted`` are; return how many had to be changed.

    Only what differs is touched: each one that is takes a place in the server's lock table.
    """
    here, there = _all(live), _all(wanted)
    changed = here ^ there
    for oid in sorted(here - there):
        live.scalar("SELECT lo_unlink(%s)", (oid,))
    for oid in sorted(there - here):
        live.scalar("SELECT lo_create(%s)", (oid,))
        _copy(live, wanted, oid)
    for oid in sorted(here & there):
        if not _is_equal(live, wanted, oid):
            live.scalar(_EMPTIED, (oid, _WRITABLE))
            _copy(live, wanted, oid)
            changed.add(oid)
    return len(changed)


def differing(live: Session, wanted: Session) -> int:
    """Return how many are not the same in both."""
    here, there = _all(live), _all(wanted)
    return len(here ^ there) + sum(not _is_equal(live, wanted, oid) for oid in here & there)


def _all(session: Session) -> set[int]:
    return {int(oid) for (oid,) in session.rows(_ALL)}


def _copy(live: Session, wanted: Session, oid: int) -> None:
    place = 0
    for piece in _pieces(wanted, oid):
        live.scalar(_WRITE, (oid, place, piece))
        place += len(piece)


def _is_equal(one: Session, other: Session, oid: int) -> bool:
    return all(
        ours == theirs for ours, theirs in zip(_pieces(one, oid), _pieces(other, oid), strict=False)
    )


def _pieces(session: Session, oid: int) -> Iterator[bytes]:
    """Return the content in pieces; the last one, which may be empty, is shorter than the rest."""
    place = 0
    while True:
        piece = bytes(session.scalar(_READ, (oid, place, _PIECE)))
        yield piece
        if len(piece) < _PIECE:
            return
        place += len(piece)
