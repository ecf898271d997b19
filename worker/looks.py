"""When to look at what boots. Pure: moments come as arguments, ages and expectations are seconds.

A look is a call, and it serves every instance; so it comes when the first of those created together is likely to be
up. What is known of boot times narrows from both sides: the age at which instances are up, and the greatest at which a
look was too early. Now and then a look comes a little earlier than it need, to find out; if it was too early, not again
for a while.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

FIRST_AGE: Final = 2.0
"""While nothing is known: the age at the first look …"""
FIRST_GROWTH: Final = 2.1
"""… and how many times as old it is at each next one."""
GAP_SHARE: Final = 0.05
"""What is not up at the expected age is looked at again after this share of it, and then ever less often."""
GAP_GROWTH: Final = 1.3
GAP_FLOOR: Final = 0.25
GAP_CEILING: Final = 10.0
TOGETHER_SHARE: Final = 0.08
"""What was created within this share of a boot is looked at by one look …"""
TOGETHER_FIRST: Final = 0.5
"""… and while nothing is known, what was created within so many seconds."""
_STEP: Final = 0.25
"""A try comes earlier by this share of what is not known to be too early, and by at least …"""
_LEAST_STEP: Final = 0.03
_REST: Final = 8
"""So many looks after one that was too early nothing is tried: each costs a call."""


@dataclass(frozen=True)
class BootTimes:
    """What is known of an account's boots.

    Args:
        expected: the age at which the next ones are looked at first; None: nothing is known.
        sure: an age at which they were up.
        early: the greatest age at which a look was too early.
        rest: how many looks more nothing is tried.

    """

    expected: float | None = None
    sure: float = 0.0
    early: float = 0.0
    rest: int = 0


def ages(expected: float | None) -> Iterable[float]:
    """Yield the ages at which an instance is looked at: from the expected one on, ever less often."""
    if expected is None:
        yield from _first_ages()
    else:
        yield from _ages_from(expected)


def _first_ages() -> Iterable[float]:
    age = FIRST_AGE
    while True:
        yield age
        age += min(age * (FIRST_GROWTH - 1), GAP_CEILING)


def _ages_from(expected: float) -> Iterable[float]:
    age, gap = expected, gap_after(expected)
    while True:
        yield age
        age += min(gap, GAP_CEILING)
        gap *= GAP_GROWTH


def gap_after(expected: float) -> float:
    """Return how soon after the first look the next one comes."""
    return max(expected * GAP_SHARE, GAP_FLOOR)


def patience(expected: float | None) -> float:
    """Return how long a look may wait for what was created a little later."""
    return TOGETHER_FIRST if expected is None else max(expected * TOGETHER_SHARE, GAP_FLOOR)


def next_look(
    births: Sequence[datetime], *, looked_at: datetime | None, expected: float | None
) -> datetime | None:
    """Return when to look next, after ``looked_at``: what was created together is looked at together.

    ``births``: when those that boot were created, in any order.
    """
    moments = [_next_for(born, looked_at, expected) for born in births]
    if not moments:
        return None
    together = min(moments) + timedelta(seconds=patience(expected))
    return max(moment for moment in moments if moment <= together)


def _next_for(born: datetime, looked_at: datetime | None, expected: float | None) -> datetime:
    for age in ages(expected):
        moment = born + timedelta(seconds=age)
        if looked_at is None or moment > looked_at:
            return moment
    raise AssertionError("ages never ends")


def learned(known: BootTimes, *, up: Sequence[float], waiting: Sequence[float]) -> BootTimes:
    """Return what is known after a look that found instances of these ages up, and others waiting."""
    if known.expected is None:
        return _first(known, up, waiting)
    meant = range_of(known.expected)
    seen = [age for age in up if meant[0] <= age <= meant[1]]
    missed = [age for age in waiting if meant[0] <= age <= meant[1]]
    if seen:
        return _hit(known, known.expected, min(seen))
    if missed:
        return replace(known, expected=max(known.expected, known.sure), early=max(missed), rest=_REST)
    later = [age for age in up if age > meant[1]]
    if later and known.early >= known.expected:
        return replace(known, expected=min(later), sure=min(later))
    return known


def range_of(expected: float) -> tuple[float, float]:
    """Return the ages of those that a first look is meant for."""
    return expected * (1 - GAP_SHARE), expected + patience(expected)


def _first(known: BootTimes, up: Sequence[float], waiting: Sequence[float]) -> BootTimes:
    if up:
        return replace(known, expected=min(up), sure=min(up))
    return replace(known, early=max(waiting, default=0.0), rest=_REST)


def _hit(known: BootTimes, expected: float, age: float) -> BootTimes:
    sure = min(age, expected)
    early = known.early if known.early < sure else 0.0
    if known.rest:
        return replace(known, sure=sure, early=early, rest=known.rest - 1)
    step = max((sure - early) * _STEP, sure * _LEAST_STEP)
    return replace(known, expected=sure - step, sure=sure, early=early)
