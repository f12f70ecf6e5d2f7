"""Where each value came from, and what a misspelled one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from itertools import chain

BUILT_IN = "built-in default"

KeyPath = tuple[str, ...]


def origin(origins: Mapping[KeyPath, str], path: KeyPath) -> str:
    """Return who wrote the value at ``path``, a value in it, or the table around it."""
    inside = (place for key, place in origins.items() if key[: len(path)] == path)
    around = (origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins)
    return next(chain(inside, around), BUILT_IN)


def nearest(word: str, words: Collection[str]) -> str:
    """Return how to go on a sentence about an unknown ``word``."""
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(sorted(words))}"
