"""zstd around a dump: whole again piece by piece, and nothing damaged passes for whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO

import pytest

from opssight_migrate.backups.compression import MAGIC, Compressed, Expanded
from opssight_migrate.backups.seal import CHUNK_BYTES
from opssight_migrate.model.errors import BackupError, DamagedBackupError

_NOISE = random.Random(4).randbytes(20_000)


class Pieces:
    """A sink that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep ``data``."""
        self.written.append(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing."""


def compressed(content: bytes, piece_bytes: int = -1) -> bytes:
    """Return what zstd makes of ``content``, read in pieces."""
    source = Compressed(BytesIO(content))
    return b"".join(iter(lambda: source.read(piece_bytes), b""))


def expanded(content: bytes, piece_bytes: int = 65_536) -> list[bytes]:
    """Return the pieces that come out when ``content`` goes in by pieces."""
    pieces = Pieces()
    sink = Expanded(pieces)
    for start in range(0, len(content), piece_bytes):
        sink.write(content[start : start + piece_bytes])
    sink.finish()
    return pieces.written


@pytest.mark.parametrize("content", [b"", b"x", _NOISE, _NOISE * 60, bytes(5_000_000)])
def test_what_was_made_smaller_comes_back_in_pieces_of_bounded_size(content: bytes) -> None:
    smaller = compressed(content, 8_192)

    assert smaller.startswith(MAGIC)
    assert len(smaller) <= len(content) + 64
    for piece_bytes in (1_001, 65_536):
        pieces = expanded(smaller, piece_bytes)
        assert b"".join(pieces) == content
        assert max(map(len, pieces), default=0) <= CHUNK_BYTES


def test_an_archive_of_pg_dump_goes_through_as_it_is() -> None:
    archive = b"PGDMP" + _NOISE

    assert b"".join(expanded(archive, 1_000)) == archive


# Noise cannot be made smaller: it lies there as it is, and only the checksum minds it.
DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "a flipped bit": lambda content, at: (
        content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]
    ),
    "a cut": lambda content, at: content[:at],
    "more at the end": lambda content, at: content + content[: at + 1],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_no_damage_passes_for_whole(damage: Callable[[bytes, int], bytes]) -> None:
    whole = compressed(_NOISE)

    for at in [*range(0, len(whole), 61), len(whole) - 1]:
        with pytest.raises(DamagedBackupError, match="compression is broken"):
            expanded(damage(whole, at))


def test_what_the_source_raises_is_raised() -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not (piece := super().read(size)):
                raise BackupError("pg_dump ended with signal 9")
            return piece

    source = Compressed(Broken(_NOISE))

    with pytest.raises(BackupError, match="signal 9"):
        list(iter(lambda: source.read(8_192), b""))
