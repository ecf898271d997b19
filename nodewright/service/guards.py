"""What keeps one caller from using up the process: requests per key, and open streams."""

from collections import Counter
from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 2.0
"""A key that was silent may ask for so many seconds' worth at once."""
STREAMS: Final = 200
"""So many streams one process keeps open at once; one key may hold a quarter of them."""
STREAM_SECONDS: Final = 3600.0
"""So long a stream lasts at most; the client resumes it."""
LOGINS_PER_SECOND: Final = 0.1
LOGINS_AT_ONCE: Final = 10
"""So many wrong keys an address may give to the page at once, and then one every ten seconds."""
_MOST_BUCKETS: Final = 10_000
"""So many callers are remembered; a million addresses must not use up the memory."""


class RateLimiter:
    """A bucket of requests per key, in this process: ``per_second`` flow in, and a burst fits in.

    Args:
        per_second: requests per second and key; 0: no limit.
        burst: so many fit in; None: two seconds' worth.
        monotonic: the clock.

    """

    def __init__(
        self, per_second: float, *, burst: float | None = None, monotonic: Callable[[], float]
    ) -> None:
        self._per_second = per_second
        self._size = max(per_second * BURST_SECONDS, 1.0) if burst is None else burst
        self._monotonic = monotonic
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, key_id: str) -> float:
        """Take one request from the key's bucket; return 0, or how many seconds it must wait for one (none taken)."""
        seconds = self.look(key_id)
        if self._per_second > 0 and not seconds:
            left, since = self._buckets[key_id]
            self._buckets[key_id] = (left - 1, since)
        return seconds

    def look(self, key_id: str) -> float:
        """Return as ``wait`` does, and take none."""
        if self._per_second <= 0:
            return 0.0
        now = self._monotonic()
        left, since = self._buckets.get(key_id, (self._size, now))
        left = min(left + (now - since) * self._per_second, self._size)
        if len(self._buckets) >= _MOST_BUCKETS and key_id not in self._buckets:
            self._forget(now)
        self._buckets[key_id] = (left, now)
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def _forget(self, now: float) -> None:
        """Forget the half that was silent for longest."""
        silent = sorted(self._buckets, key=lambda one: now - self._buckets[one][1], reverse=True)
        for one in silent[: _MOST_BUCKETS // 2]:
            del self._buckets[one]


class Streams:
    """Counts the streams that are open, so that they cannot use up the process. For one event loop."""

    def __init__(self, most: int = STREAMS) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def take(self, key_id: str) -> bool:
        """Take a place for one more stream; False: there is none."""
        if self._open.total() >= self._most or self._open[key_id] >= max(self._most // 4, 1):
            return False
        self._open[key_id] += 1
        return True

    def give_back(self, key_id: str) -> None:
        """Give a place back."""
        self._open[key_id] -= 1
        if not self._open[key_id]:
            del self._open[key_id]
