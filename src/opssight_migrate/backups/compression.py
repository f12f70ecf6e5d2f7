"""zstd around a dump: made smaller as it is read, and the whole of it again as it is written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from opssight_migrate.backups.seal import CHUNK_BYTES, Sink, Source
from opssight_migrate.model.errors import DamagedBackupError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX = ".zst"
MAGIC = b"\x28\xb5\x2f\xfd"
"""How a file of zstd begins. Source: RFC 8878, section 3.1.1."""

# OpsSight's rows become a quarter smaller than by pg_dump's own zlib at level 1, in a third of its
# time (210 MB: 0.6 s and 1.7 s). Levels 2 and 3 were slower, and no smaller; those below 1 made
# them half again as big. A window and a table that stay in a core's own cache took a sixth off.
_OPTIONS: Mapping[int, int] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.window_log: 17,
    zstd.CompressionParameter.hash_log: 13,
    zstd.CompressionParameter.checksum_flag: 1,
}
ARCHIVE = b"PGDMP"
"""How an archive of pg_dump begins. Source: PostgreSQL 18, src/bin/pg_dump/pg_backup_archiver.c."""


class Compressed:
    """Reads a source and gives what zstd makes of it, with a checksum of all of it at the end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._compressor = zstd.ZstdCompressor(options=_OPTIONS)
        self._ready = memoryview(b"")
        self._is_over = False

    def read(self, size: int = -1) -> bytes:
        """Return the next piece, of at most ``size`` bytes; nothing at the end.

        Raises: what the source raises.
        """
        while not self._ready and not self._is_over:
            piece = self._source.read(CHUNK_BYTES)
            self._is_over = not piece
            made = self._compressor.compress(piece) if piece else self._compressor.flush()
            self._ready = memoryview(made)
        given = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(given) :]
        return bytes(given)


class Expanded:
    """Writes what zstd had made smaller on to a sink, as it was, in pieces of bounded size.

    Good pieces arrive before a bad one is met. An archive of pg_dump goes on as it is: backups
    were such ones, compressed by pg_dump itself, before they were compressed here.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._zipped = zstd.ZstdDecompressor()
        self._has_begun = False
        self._is_archive = False

    def write(self, data: bytes) -> int:
        """Hand on what ``data`` is when expanded.

        Raises: DamagedBackupError, and what the sink raises.
        """
        if not self._has_begun:
            self._has_begun = True
            self._is_archive = data.startswith(ARCHIVE)
        for piece in (data,) if self._is_archive else self._expanded(data):
            self._sink.write(piece)
        return len(data)

    def flush(self) -> None:
        """Flush the sink; the end is told by ``finish``."""
        self._sink.flush()

    def finish(self) -> None:
        """Tell that nothing follows.

        Raises: DamagedBackupError, if something should.
        """
        if not self._is_archive and not self._zipped.eof:
            raise DamagedBackupError("the backup's compression is broken: it ends too early")

    def _expanded(self, data: bytes) -> Iterator[bytes]:
        zipped = self._zipped
        try:
            if not zipped.eof:
                yield zipped.decompress(data, CHUNK_BYTES)
                data = b""
            while not zipped.eof and not zipped.needs_input:
                yield zipped.decompress(b"", CHUNK_BYTES)
        except zstd.ZstdError as error:
            raise DamagedBackupError(f"the backup's compression is broken: {error}") from error
        if data or zipped.unused_data:
            raise DamagedBackupError("the backup's compression is broken: more follows its end")
