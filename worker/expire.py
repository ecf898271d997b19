"""Expire: ends what waits past its deadline or in a stopped fleet, and takes down what its time to live is over for.

It reads and writes rows only: the removal deletes the instances, each with proof that it is ours.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from jobs import expiry
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.policy import CHORE
from worker.engine import Engine

_MOST_CHUNKS: Final = 40
"""So many transactions in one run, so that its lease outlives it."""


class Expire:
    """Sees to deadlines, stopped fleets and times to live, everything that is overdue at once."""

    name = CHORE
    lease = timedelta(seconds=30)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return when the next deadline or time to live is over, or now where a stopped fleet has jobs that wait."""
        return expiry.next_due(tx)

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Do it; return when to do it again."""
        steps: tuple[Callable[..., int], ...] = (expiry.end_stopped, expiry.end_overdue, expiry.end_expired)
        full = [step for step in steps if not self._all(step)]
        with self._engine.parts.database.read() as tx:
            return tx.now if full else tx.now + self._engine.pace.tick

    def _all(self, step: Callable[..., int]) -> bool:
        """Take a step until nothing is left, in short transactions; False: something is."""
        for _ in range(_MOST_CHUNKS):
            with self._engine.parts.database.write() as tx:
                if not step(tx, actor=self._engine.actor):
                    return True
        return False
