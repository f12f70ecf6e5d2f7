"""How fast a backup is beside pg_dump alone at the same compression: python -m, or the test."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opssight_migrate.backups import creation, seal
from opssight_migrate.backups.creation import Order
from opssight_migrate.backups.shelf import Shelf
from opssight_migrate.model.events import unheard
from opssight_migrate.postgres import clients, siblings
from opssight_migrate.postgres.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The best seconds of each, and how much memory of this process grew over the backups."""

    pg_dump_s: float
    backup_s: float
    dumped_bytes: int
    grown_bytes: int

    @property
    def ratio(self) -> float:
        """The backup's rate in parts of pg_dump's."""
        return self.pg_dump_s / self.backup_s


def measured(session: Session, directory: Path, *, rounds: int = 3) -> Rates:
    """Run pg_dump into a file and a sealed backup in turns, so that both meet the same machine."""
    tools = clients.for_dump(session.server_version // 10_000)
    reached = siblings.for_program(session)
    alone = directory / "alone.dump"
    order = Order(
        environment="bench",
        tool="bench",
        shelf=Shelf(directory / "shelf"),
        recipients=(str(seal.pyrage.x25519.Identity.generate().to_public()),),
    )

    def dump() -> None:
        command = [tools.program("pg_dump"), "-Fc", "-Z1", "-f", str(alone), "-d", reached.conninfo]
        subprocess.run(command, env=reached.environment, check=True)

    def back_up() -> None:
        creation.create(session, order, unheard)

    back_up()  # the first one loads the libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dumps: list[float] = []
    backups: list[float] = []
    for _ in range(rounds):
        dumps.append(_seconds(dump))
        backups.append(_seconds(back_up))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Rates(
        pg_dump_s=min(dumps),
        backup_s=min(backups),
        dumped_bytes=alone.stat().st_size,
        grown_bytes=grown * 1024,
    )


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
