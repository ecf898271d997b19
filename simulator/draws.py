"""Dice without state: each draw is a pure function of a seed and of what it is for."""

from hashlib import blake2b


def draw(seed: int, *purpose: object) -> float:
    """A number in [0, 1) that is the same for the same seed and purpose, in every process."""
    digest = blake2b(repr((seed, purpose)).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)
