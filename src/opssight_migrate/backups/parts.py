"""Into how many archives a dump is cut: one, or before the data, tables dealt by size, after it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opssight_migrate.backups.manifest import Section

# Below this three more pg_dump cost more by their start than they gain.
PAYS_BYTES = 64 * 1024**2
# The server's process keeps one busy, pg_dump and what we do with it another. On two cores 160 MB
# took 3.9 CPU-seconds by one pg_dump with the digests, and 4.4 by two.
_CORES_EACH = 2
# More of them only wait for the server, and each holds a connection.
_MOST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One archive of a dump; ``name`` is empty where there is only one."""

    name: str
    holds: Section
    options: tuple[str, ...] = ()


Stages = tuple[tuple[Part, ...], ...]
"""Parts in the order of their restore; those of one stage may be dumped side by side."""

WHOLE: Stages = ((Part(name="", holds="all"),),)


def jobs_for(sizes: Mapping[str, int]) -> int:
    """Return how many pg_dump are worth it: one for two cores of ours, where there is much.

    A table is not cut, so that what counts is what can be dumped beside the biggest one.
    """
    stored = sum(sizes.values())
    beside = stored - max(sizes.values(), default=0)
    if stored < PAYS_BYTES or beside < PAYS_BYTES // 2:
        return 1
    return min(max((os.cpu_count() or 1) // _CORES_EACH, 1), _MOST)


def cut(sizes: Mapping[str, int], jobs: int) -> Stages:
    """Deal tables of ``public``, with their bytes, to ``jobs`` archives: the biggest go first.

    The first archive takes what is in no other, so that nothing depends on our list.
    """
    hands = [hand for hand in _dealt(sizes, jobs) if hand]
    if len(hands) < 2:
        return WHOLE
    elsewhere = [f"--exclude-table-data={_pattern(table)}" for hand in hands[1:] for table in hand]
    data = [Part(name="data-1", holds="data", options=("--section=data", *elsewhere))]
    for number, hand in enumerate(hands[1:], start=2):
        own = [f"--table={_pattern(table)}" for table in hand]
        options = ("--section=data", "--strict-names", *own)
        data.append(Part(name=f"data-{number}", holds="data", options=options))
    before = Part(name="pre-data", holds="pre-data", options=("--section=pre-data",))
    after = Part(name="post-data", holds="post-data", options=("--section=post-data",))
    return ((before,), tuple(data), (after,))


def _dealt(sizes: Mapping[str, int], jobs: int) -> Sequence[list[str]]:
    hands: list[list[str]] = [[] for _ in range(jobs)]
    held = [0] * jobs
    for table in sorted(sizes, key=lambda name: (-sizes[name], name)):
        least = held.index(min(held))
        hands[least].append(table)
        held[least] += sizes[table]
    return hands


def _pattern(table: str) -> str:
    """Return a name as pg_dump takes it for itself: in quotes nothing stands for anything else."""
    doubled = table.replace('"', '""')
    return f'"public"."{doubled}"'
