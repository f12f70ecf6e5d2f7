"""The floor of cleanup: what no option can make it retire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something that cleanup could retire.

    ``shelf`` is what it is counted with for ``keep_last``, None where only its age counts;
    ``needed`` while an unfinished run may still want it.
    """

    name: str
    environment: str
    shelf: str | None
    at: datetime
    needed: bool = False


def above(
    candidates: Iterable[Candidate], *, environment: str, keep_last: int, before: datetime
) -> tuple[Candidate, ...]:
    """Return those that may go, oldest first.

    What stays: another environment's, what is needed, what is not older than ``before``, and the
    newest ``keep_last`` of each shelf.
    """
    ours = [one for one in candidates if one.environment == environment]
    shelves: dict[str, list[Candidate]] = defaultdict(list)
    for one in ours:
        if one.shelf is not None:
            shelves[one.shelf].append(one)
    kept = {
        id(one)
        for shelf in shelves.values()
        for one in sorted(shelf, key=lambda one: one.at, reverse=True)[:keep_last]
    }
    going = [one for one in ours if id(one) not in kept and not one.needed and one.at < before]
    return tuple(sorted(going, key=lambda one: one.at))
