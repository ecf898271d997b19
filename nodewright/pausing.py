"""Waiting that a signal can end."""

import threading

from nodewright.failures import Interrupted


class Pause:
    """Waiting that a signal ends: ``set`` it from a signal handler, and whoever waits is interrupted."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.hurry = threading.Event()

    def set(self) -> None:
        """End all waiting; the second time, end the stopping too."""
        if self.stopped.is_set():
            self.hurry.set()
        self.stopped.set()

    def check(self) -> None:
        """Raise :class:`Interrupted` if somebody asked for the end."""
        if self.stopped.is_set():
            raise Interrupted

    def __call__(self, seconds: float) -> None:
        """Wait so long, unless somebody asks for the end: then raise :class:`Interrupted`."""
        self.stopped.wait(seconds)
        self.check()
