"""How long to wait before trying again: pure, clamped, with the dice passed in."""

from datetime import timedelta
from random import Random
from typing import Final

LOOK_FIRST_SECONDS: Final = 1.0
LOOK_CEILING_SECONDS: Final = 60.0
SEND_FIRST_SECONDS: Final = 0.5
SEND_CEILING_SECONDS: Final = 30.0
DELETE_FIRST_SECONDS: Final = 1.0
DELETE_CEILING_SECONDS: Final = 60.0
_JITTER: Final = 0.2


def exponential(tries: int, *, first: float, ceiling: float) -> float:
    """Return ``first`` doubled ``tries`` times, at most ``ceiling`` (seconds).

    >>> [exponential(tries, first=1.0, ceiling=10.0) for tries in range(5)]
    [1.0, 2.0, 4.0, 8.0, 10.0]
    """
    if tries > 32:  # noqa: PLR2004 - far beyond any ceiling, and the power would grow without bounds
        return ceiling
    return min(first * 2.0**tries, ceiling)


def _jittered(seconds: float, dice: Random) -> timedelta:
    return timedelta(seconds=seconds * (1 + _JITTER * (2 * dice.random() - 1)))


def look_again(looks: int, dice: Random) -> timedelta:
    """Return how long to wait before the next look-up of an uncertain job."""
    return _jittered(exponential(looks, first=LOOK_FIRST_SECONDS, ceiling=LOOK_CEILING_SECONDS), dice)


def send_again(sends: int, dice: Random) -> timedelta:
    """Return how long to wait before a create that never left is sent again."""
    return _jittered(exponential(sends - 1, first=SEND_FIRST_SECONDS, ceiling=SEND_CEILING_SECONDS), dice)


def delete_again(tries: int, dice: Random) -> timedelta:
    """Return how long to wait before a delete is tried again."""
    return _jittered(exponential(tries, first=DELETE_FIRST_SECONDS, ceiling=DELETE_CEILING_SECONDS), dice)


DELIVERY_SECONDS: Final = (5, 30, 120, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 36_000)
"""The waits between the tries of a webhook's delivery: twelve tries within a day."""
RETRY_AFTER_CEILING: Final = timedelta(hours=6)


def deliver_again(tries: int, dice: Random, *, retry_after: timedelta | None = None) -> timedelta | None:
    """Return how long to wait after ``tries`` failed ones, None: no more. A longer wait is granted if asked for."""
    if not 0 < tries <= len(DELIVERY_SECONDS):
        return None
    own = _jittered(float(DELIVERY_SECONDS[tries - 1]), dice)
    return own if retry_after is None else max(own, min(retry_after, RETRY_AFTER_CEILING))
