"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

START: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """The database's clock and the process' monotonic one in a test: both move only by :meth:`advance`."""

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self.now = start

    def __call__(self, connection: Any = None) -> datetime:
        """Return the present moment; a ``jobs.database.Clock`` is asked with its connection."""
        return self.now

    def monotonic(self) -> float:
        """Return the seconds since the clock was made."""
        return (self.now - self.start).total_seconds()

    def advance(self, seconds: float) -> datetime:
        """Move the clock, by default forwards, and return the new moment."""
        self.now += timedelta(seconds=seconds)
        return self.now

    def at(self, seconds: float) -> datetime:
        """Return the moment that is ``seconds`` from now."""
        return self.now + timedelta(seconds=seconds)
