"""What a worker counts for the metrics, and the chore that counts what happened to jobs."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from jobs import tallies
from jobs.chores import Claim
from jobs.database import Database, Transaction
from jobs.feed import Horizon

NO_ANSWER: Final = "none"
FOLDING_SECONDS: Final = 10.0
"""After so long a run ends, so that its lease outlives it; where there is much to fold, the next one goes on."""
_PAUSE: Final = timedelta(seconds=2)


class Counts:
    """What this process has counted since its last heartbeat: with a process that is killed, ten seconds' worth."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def called(self, route: str, status: int | None) -> None:
        """Count a call of a route, as ``GET /regions``, by the status of its answer; None: there was none."""
        method, _, path = route.partition(" ")
        answer = NO_ANSWER if status is None else str(status)
        key = tallies.REQUESTS, tallies.labelled(method=method, route=path, status=answer)
        with self._lock:
            self._counts[key] += 1

    @contextmanager
    def taken(self) -> Iterator[tallies.Counts]:
        """Hand out what was counted; it is taken back if an exception leaves the block."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        try:
            yield taken
        except BaseException:
            with self._lock:
                self._counts.update(taken)
            raise


class Tally:
    """Folds the events of jobs into the counters, behind the horizon below which every writer is done."""

    name = "tally"
    lease = timedelta(seconds=60)

    def __init__(self, database: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._horizon = Horizon(monotonic)

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return now where there are events that can be counted."""
        # Every worker looks, so that each one's horizon is up to date when its turn comes.
        self._horizon.advance(tx)
        return tx.now if self._horizon.settled > tallies.folded(tx) else None

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Count what is settled, in short transactions; return when to do it again."""
        upto = self._horizon.settled
        began = self._monotonic()
        more = True
        while more and self._monotonic() - began < FOLDING_SECONDS:
            with self._database.write() as tx:
                more = tallies.fold(tx, upto=upto)
        with self._database.read() as tx:
            return tx.now if more else tx.now + _PAUSE
