"""Show 2 of the proof at a small size: the digest beside two plain hashes of the same rows."""

from __future__ import annotations

from tests.benchmarks.digest_rate import OF_BARE, OF_TEXT, measured

ROWS, TURNS = 200_000, 5


def test_a_digest_is_twice_as_fast_as_hashing_texts_and_near_a_bare_hash() -> None:
    best = measured(ROWS, TURNS)

    assert best["digest"] >= OF_TEXT * best["text"], best
    assert best["digest"] >= OF_BARE * best["bare"], best
