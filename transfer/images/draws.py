"""Hashes in the place of chance: a draw comes out the same everywhere and for ever."""

import hashlib

DRAWS = 2**64
"""How many there are."""


def draw(*words: str) -> int:
    """Returns a number from 0 to `DRAWS` - 1 that depends on the words alone, uniform over them."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return int.from_bytes(digest[:8], "big")
