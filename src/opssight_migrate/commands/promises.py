"""What the plan promised of locks, held against the receipts of what was taken."""

from __future__ import annotations

from collections.abc import Iterator

from opssight_migrate.model.report import LockReceipt, ReportStep

# Whoever was told of the stronger mode was told of the weaker one. Others make nobody wait who
# reads or writes.
_COVERED_BY: dict[str, tuple[str, ...]] = {
    "ACCESS EXCLUSIVE": ("ACCESS EXCLUSIVE",),
    "SHARE ROW EXCLUSIVE": ("SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"),
}


def broken(step: ReportStep, in_use: frozenset[str]) -> Iterator[str]:
    """Say which locks of a finished step its plan did not name, or were held for longer.

    ``in_use`` are the tables on which others may work: a lock on another one stops nobody.
    """
    told = (_broken(step, lock) for lock in step.locks if lock.relation in in_use)
    yield from dict.fromkeys(filter(None, told))


def _broken(step: ReportStep, taken: LockReceipt) -> str | None:
    modes = _COVERED_BY.get(taken.mode)
    if modes is None:
        return None
    promises = [p for p in step.promised_locks if p.relation == taken.relation and p.mode in modes]
    if not promises:
        return f"{step.id}: {taken.mode} on {taken.relation} was taken; the plan did not name it"
    if taken.held_ms > (most := max(one.at_most_ms for one in promises)):
        return (
            f"{step.id}: {taken.mode} on {taken.relation} was held for {taken.held_ms:,} ms;"
            f" the plan promised less than {most:,} ms"
        )
    return None
