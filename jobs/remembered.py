"""Answers that take long to find, kept for a moment, so that only who asks first waits for them."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database, Transaction

DEAR_SECONDS: Final = 0.02
"""What is found sooner is not kept, unless it is said otherwise."""
FRESH_SECONDS: Final = 5.0
"""What was found so lately is as good as new; whoever asks later has it looked up anew, and does not wait for it …"""
KEPT_SECONDS: Final = 10.0
"""… unless it is older than this: nobody is told anything older."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def in_background(act: Callable[[], None]) -> None:
    """Run ``act`` in a thread of its own, which keeps no process from ending."""
    threading.Thread(target=act, name="remembered", daemon=True).start()


@dataclass(frozen=True)
class Means:
    """The clock, in seconds, and what runs something behind the back of whoever asks."""

    monotonic: Callable[[], float] = time.monotonic
    background: Callable[[Callable[[], None]], None] = in_background


REAL: Final = Means()


class Remembered(Generic[Key, Value]):
    """What was found, by key. May be used by many threads."""

    def __init__(
        self,
        database: Database,
        find: Callable[[Transaction, Sequence[Key]], Mapping[Key, Value]],
        means: Means = REAL,
        *,
        dear_seconds: float = DEAR_SECONDS,
        worth: Callable[[Value], bool] = bool,
    ) -> None:
        """``find`` returns a value for each of some keys; it may be called in the background, by itself.

        What took no longer than ``dear_seconds``, or is not ``worth`` it, is not kept: a machine that is busy for a
        moment makes nothing dear.
        """
        self._database = database
        self._find = find
        self._dear_seconds, self._worth = dear_seconds, worth
        self._monotonic, self._background = means.monotonic, means.background
        self._lock = threading.Lock()
        self._known: dict[Key, tuple[Value, float]] = {}
        self._sought: set[Key] = set()

    def look(self, tx: Transaction, keys: Sequence[Key]) -> dict[Key, Value]:
        """Return the value of each key, none older than :data:`KEPT_SECONDS`."""
        now = self._monotonic()
        with self._lock:
            self._known = {key: one for key, one in self._known.items() if now - one[1] < KEPT_SECONDS}
            found = {key: self._known[key][0] for key in keys if key in self._known}
            old = [key for key in found if now - self._known[key][1] >= FRESH_SECONDS]
            again = [key for key in old if key not in self._sought]
            self._sought.update(again)
        if again:
            self._background(lambda: self._renew(again))
        new = [key for key in keys if key not in found]
        return found | (self._found(tx, new) if new else {})

    def _found(self, tx: Transaction, keys: Sequence[Key]) -> dict[Key, Value]:
        began = self._monotonic()
        found = dict(self._find(tx, keys))
        dear = self._monotonic() - began > self._dear_seconds
        with self._lock:
            self._known |= {
                key: (value, began) for key, value in found.items() if dear and self._worth(value)
            }
        return found

    def _renew(self, keys: Sequence[Key]) -> None:
        try:
            # Without a database the old answer serves until it is too old; whoever asks then is told why.
            with suppress(SQLAlchemyError), self._database.read() as tx:
                self._found(tx, keys)
        finally:
            with self._lock:
                self._sought.difference_update(keys)
