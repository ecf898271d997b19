"""Rate limits: fixed windows that start at the first call, one counter per (token, method, route).

Numbers are those of API.md, "Rate limits". A call may have to fit several windows at once (creates had
5 / 15 s and 10 / 30 s in 2024), and counters may sit on several backends that do not know of each other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

HeaderMode = Literal["all", "limit-only", "none"]
"""Which rate headers replies carry: all four; only the limit (seen on 429s of 2026); none (seen too)."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """``limit`` calls per ``window`` seconds; headers claim ``shown`` where that was recorded to differ."""

    limit: int
    window: float
    shown: int | None = None


DOCUMENTED: Mapping[str, tuple[Bucket, ...]] = {
    "create": (Bucket(20, 15.0),),
    "list": (Bucket(200, 60.0, shown=1840),),
    "images": (Bucket(20, 60.0),),
    "other": (Bucket(1600, 60.0, shown=1840),),
}
"""Class of call → its windows. A class without windows has no limit."""


@dataclass(slots=True)
class Window:
    """One open window: when it started and how many calls it let through."""

    start: float
    used: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the limits say about one call: whether it may pass, and what headers tell."""

    allowed: bool
    limit: int | None = None
    remaining: int = 0
    resets_at: float = 0.0

    def headers(self, now: float, mode: HeaderMode) -> list[tuple[str, str]]:
        """Reset is UTC epoch seconds, rounded up; Retry-After is Reset - Date - 1 (94 % of recordings)."""
        if self.limit is None or mode == "none":
            return []
        limit = [("X-RateLimit-Limit", str(self.limit))]
        if mode == "limit-only":
            return limit
        reset = math.ceil(self.resets_at)
        return [
            *limit,
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(reset)),
            ("Retry-After", str(max(reset - int(now) - 1, 0))),
        ]


Key = tuple[str, str, str, int, int]


@dataclass(slots=True)
class Limits:
    """The counters. ``classes`` may be replaced while running; open windows go on with the new numbers."""

    classes: dict[str, tuple[Bucket, ...]] = field(default_factory=lambda: dict(DOCUMENTED))
    backends: int = 1
    calls: int = 0
    windows: dict[Key, Window] = field(default_factory=dict)

    def set(self, name: str, buckets: Sequence[Bucket]) -> None:
        """Replace the windows of one class of calls; none means no limit."""
        self.classes[name] = tuple(buckets)

    def take(self, who: str, method: str, route: str, name: str, now: float) -> Ticket:
        """Count one call if every window has room. A refused call counts nowhere."""
        ticket = self._ticket((who, method, route), name, now, spend=True)
        self.calls += 1
        return ticket

    def look(self, who: str, method: str, route: str, name: str, now: float) -> Ticket:
        """What ``take`` would say, without counting."""
        return self._ticket((who, method, route), name, now, spend=False)

    def _ticket(self, call: tuple[str, str, str], name: str, now: float, *, spend: bool) -> Ticket:
        buckets = self.classes.get(name, ())
        if not buckets:
            return Ticket(allowed=True)
        backend = self.calls % self.backends
        open_windows = [
            (bucket, self._window((*call, index, backend), bucket, now))
            for index, bucket in enumerate(buckets)
        ]
        allowed = all(window.used < bucket.limit for bucket, window in open_windows)
        if allowed and spend:
            for index, (_, window) in enumerate(open_windows):
                window.used += 1
                self.windows[(*call, index, backend)] = window
        return _tightest(open_windows, allowed=allowed)

    def _window(self, key: Key, bucket: Bucket, now: float) -> Window:
        window = self.windows.get(key)
        if window is None or not window.start <= now < window.start + bucket.window:
            return Window(now)
        return window


def _tightest(open_windows: Sequence[tuple[Bucket, Window]], *, allowed: bool) -> Ticket:
    bucket, window = min(
        open_windows, key=lambda pair: (pair[0].limit - pair[1].used, -(pair[1].start + pair[0].window))
    )
    shown = bucket.limit if bucket.shown is None else bucket.shown
    remaining = max(shown - window.used, 0) if allowed else 0
    return Ticket(allowed, shown, remaining, window.start + bucket.window)
