"""The parts of a dump, written side by side in threads while their owner does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from opssight_migrate.backups import seal
from opssight_migrate.backups.compression import Compressed
from opssight_migrate.backups.dump import Dump
from opssight_migrate.backups.parts import Part, Stages
from opssight_migrate.backups.restore import Restoring


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A part under way: from pg_dump, smaller, sealed, into the file ``name``, maybe a database."""

    part: Part
    name: str
    source: Dump
    sink: seal.Counted
    restoring: Restoring | None

    def kill(self) -> None:
        """End the programs, if they still run."""
        self.source.kill()
        if self.restoring is not None:
            self.restoring.kill()


class Dumping:
    """All parts, stage by stage; ``begin`` starts one, and is called in threads.

    ``width`` is how many run side by side at the most.
    """

    def __init__(
        self, stages: Stages, begin: Callable[[Part], Stream], recipients: tuple[str, ...]
    ) -> None:
        self._stages = stages
        self._begin = begin
        self._recipients = recipients
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._is_over = False
        self.width = max(len(stage) for stage in stages)
        self._pool = ThreadPoolExecutor(max_workers=1 + self.width)
        self._work = self._pool.submit(self._dump)

    @property
    def size_bytes(self) -> int:
        """What is written so far."""
        return sum(stream.sink.size_bytes for stream in list(self._streams))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The parts that were begun, in the order of their restore."""
        order = [part for stage in self._stages for part in stage]
        return tuple(sorted(self._streams, key=lambda stream: order.index(stream.part)))

    def is_done(self, within_s: float) -> bool:
        """Wait a little and tell whether all parts are written.

        Raises: what went wrong with any of them, such as BackupError.
        """
        if not wait([self._work], timeout=within_s).done:
            return False
        self._work.result()
        return True

    def close(self) -> None:
        """End what still runs, and wait for the threads."""
        with self._lock:
            self._is_over = True
            streams = list(self._streams)
        for stream in streams:
            stream.kill()
        self._pool.shutdown()

    def _dump(self) -> None:
        for stage in self._stages:
            under_way = [self._pool.submit(self._write, part) for part in stage]
            self._await(under_way)

    def _await(self, under_way: list[Future[None]]) -> None:
        done, others = wait(under_way, return_when=FIRST_EXCEPTION)
        failed = [one for one in done if one.exception() is not None]
        if others:
            with self._lock:
                self._is_over = True
                streams = list(self._streams)
            for stream in streams:
                stream.source.kill()
            wait(others)
        for one in failed or done:
            one.result()

    def _write(self, part: Part) -> None:
        with self._lock:
            if self._is_over:
                return
            stream = self._begin(part)
            self._streams.append(stream)
        seal.seal(Compressed(stream.source), stream.sink, self._recipients)
        if stream.restoring is not None:
            stream.restoring.finish()
