"""The server's clock: the only place that reads the time."""

import time


class Clock:
    """Wall time (UTC epoch seconds) with an offset that can be changed while running."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        """Now."""
        return time.time() + self.offset
