"""When a fleet would be done: from the rate windows, the queue before it and how long instances boot. Pure.

It is an estimate for the case that nothing else comes and nothing fails, and it says what it rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from jobs.windows import Window, ends_at, room, usable

USUAL_BOOT_SECONDS: Final = 60.0
"""Taken while no instance of the account was seen to boot."""
_LONGEST_SECONDS: Final = 10 * 365 * 86_400.0
_GRAIN_SECONDS: Final = 0.05

Lane: TypeAlias = Sequence[Window]
"""All windows of one token on creates, as they stand now; none of them may be passed over. Empty: no limit."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long it takes. Durations are seconds from now.

    creates_per_minute: what the windows allow together; None: no limit. boot_seconds_known: whether it was measured.
    holds: what stands still now, so that the clock begins when that is over.
    """

    jobs_ahead: int
    creates_per_minute: float | None
    boot_seconds: float
    boot_seconds_known: bool
    last_create_seconds: float
    all_running_seconds: float
    holds: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        rate = self.creates_per_minute
        return {
            "jobs_ahead": self.jobs_ahead,
            "creates_per_minute": None if rate is None else round(rate, 1),
            "boot_seconds": round(self.boot_seconds, 1),
            "boot_seconds_known": self.boot_seconds_known,
            "last_create_seconds": round(self.last_create_seconds, 1),
            "all_running_seconds": round(self.all_running_seconds, 1),
            "holds": list(self.holds),
        }


def estimate(
    lanes: Sequence[Lane],
    *,
    count: int,
    jobs_ahead: int,
    boot_seconds: float | None,
    now: datetime,
    holds: Sequence[str] = (),
) -> Estimate:
    """Return when ``count`` jobs behind ``jobs_ahead`` others would run. The windows are rolled to ``now``."""
    last = seconds_until(lanes, count + jobs_ahead, now) if count else 0.0
    boot = USUAL_BOOT_SECONDS if boot_seconds is None else boot_seconds
    return Estimate(
        jobs_ahead=jobs_ahead,
        creates_per_minute=creates_per_minute(lanes),
        boot_seconds=boot,
        boot_seconds_known=boot_seconds is not None,
        last_create_seconds=last,
        all_running_seconds=last + boot if count else 0.0,
        holds=tuple(holds),
    )


def creates_per_minute(lanes: Sequence[Lane]) -> float | None:
    """Return how many creates all lanes allow per minute in the long run; None: no limit."""
    rates = [_rate(lane) for lane in lanes]
    return None if None in rates else sum(rate for rate in rates if rate is not None)


def seconds_until(lanes: Sequence[Lane], calls: int, now: datetime) -> float:
    """Return after how many seconds ``calls`` calls may have been sent over all lanes together."""
    longest = 1.0
    while not _enough(lanes, calls, now, longest):
        longest *= 2
        if longest > _LONGEST_SECONDS:
            return _LONGEST_SECONDS
    if _enough(lanes, calls, now, 0.0):
        return 0.0
    shortest = 0.0
    while longest - shortest > _GRAIN_SECONDS:
        middle = (shortest + longest) / 2
        if _enough(lanes, calls, now, middle):
            longest = middle
        else:
            shortest = middle
    return longest


def _enough(lanes: Sequence[Lane], calls: int, now: datetime, seconds: float) -> bool:
    sent = [_sendable(lane, now, seconds) for lane in lanes]
    return None in sent or sum(one for one in sent if one is not None) >= calls


def _sendable(lane: Lane, now: datetime, seconds: float) -> int | None:
    """Return how many calls a lane lets through within so many seconds; None: any number."""
    counts = [_calls(window, now, seconds) for window in lane if window.allowed]
    return min(counts) if counts else None


def _calls(window: Window, now: datetime, seconds: float) -> int:
    present = room(window, now) or 0
    left = seconds - _opens_in(window, now)
    if left < 0:
        return present
    return present + usable(window) * (1 + int(left / _period(window)))


def _opens_in(window: Window, now: datetime) -> float:
    """Return in how many seconds the next window opens; one that is not open yet begins with its first call."""
    if window.closed_until is not None and now < window.closed_until:
        return (window.closed_until - now).total_seconds()
    end = ends_at(window)
    return _period(window) if end is None else max((end - now).total_seconds(), 0.0)


def _period(window: Window) -> float:
    return window.seconds + window.margin_seconds


def _rate(lane: Lane) -> float | None:
    rates = [60 * usable(window) / _period(window) for window in lane if window.allowed]
    return min(rates) if rates else None
