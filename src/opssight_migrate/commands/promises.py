"""What the plan promised of locks, held against the receipts of what was taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from opssight_migrate.model.report import LockReceipt, ReportStep

# Whoever was told of the stronger mode was told of the weaker one. Others make nobody wait who
# reads or writes.
_COVERED_BY: dict[str, tuple[str, ...]] = {
    "ACCESS EXCLUSIVE": ("ACCESS EXCLUSIVE",),
    "SHARE ROW EXCLUSIVE": ("SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"),
}


def broken(steps: Iterable[ReportStep], in_use: frozenset[str]) -> Iterator[str]:
    """Say which locks of finished steps the plan did not name, and how many were held for longer.

    ``in_use`` are the tables on which others may work: a lock on another one stops nobody. A busy
    machine holds many locks for longer at once: the receipts have each, one sentence has the worst.
    """
    held = [_Held(step, lock) for step in steps for lock in step.locks if lock.relation in in_use]
    strong = [one for one in held if one.lock.mode in _COVERED_BY]
    unnamed = [one.sentence for one in strong if one.most_ms is None]
    yield from dict.fromkeys(
        f"{sentence} was taken; the plan did not name it" for sentence in unnamed
    )
    longer = [one for one in strong if one.most_ms is not None and one.lock.held_ms > one.most_ms]
    if longer:
        worst = max(longer, key=lambda one: one.lock.held_ms)
        others = f"; of {len(strong)} strong locks {len(longer)} were held for longer"
        others = others if longer[1:] else ""
        yield (
            f"{worst.sentence} was held for {worst.lock.held_ms:,} ms;"
            f" the plan promised less than {worst.most_ms:,} ms{others}"
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """A receipt, beside what its step had promised."""

    step: ReportStep
    lock: LockReceipt

    @property
    def sentence(self) -> str:
        return f"{self.step.id}: {self.lock.mode} on {self.lock.relation}"

    @property
    def most_ms(self) -> int | None:
        """The longest time that the plan named for such a lock; None where it named none."""
        modes = _COVERED_BY[self.lock.mode]
        told = [
            promise.at_most_ms
            for promise in self.step.promised_locks
            if promise.relation == self.lock.relation and promise.mode in modes
        ]
        return max(told, default=None)
