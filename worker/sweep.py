"""The sweeper: brings back what a dead worker or a lost wake-up left behind. It reads and writes rows only."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import and_, func, select

from jobs import backoff, fleets, transitions
from jobs.catalog import Catalog
from jobs.chores import Claim
from jobs.database import Transaction
from jobs.fleets import Guards
from jobs.records import JobRecord, catalogs, in_state, jobs
from jobs.states import Event, State
from jobs.transitions import Reason
from worker.engine import Engine

_CHUNK: Final = 200
_INSTANT: Final = timedelta(microseconds=1)
# One by one: each has its own index.
_LEASED: Final = (in_state(State.DISPATCHED), in_state(State.CREATING))
_NEXT: Final = select(
    *(select(func.min(jobs.c.lease_until)).where(leased).scalar_subquery() for leased in _LEASED)
)
_SUBMITTED: Final = select(jobs.c.account_id).where(in_state(State.SUBMITTED))
_ANY_SUBMITTED: Final = _SUBMITTED.where(jobs.c.account_id.in_(select(catalogs.c.account_id))).limit(1)
_ACCOUNTS: Final = _SUBMITTED.distinct().order_by(jobs.c.account_id)


class Sweep:
    """Takes back leases that ran out, and erases secrets that nobody needs any more."""

    name = "sweep"
    lease = timedelta(seconds=30)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return when the next lease runs out, or now where a fleet keeps secrets that none of its jobs needs."""
        if fleets.keeps_secrets(tx):
            return tx.now
        ends = [moment for moment in tx.execute(_NEXT).one() if moment is not None]
        return min(ends) + _INSTANT if ends else None

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Do it; return when to do it again."""
        with self._engine.parts.database.write() as tx:
            for job in lapsed(tx, limit=_CHUNK):
                take_back(tx, job, self._engine)
            fleets.erase_secrets(tx)
            return tx.now


def lapsed(tx: Transaction, *, limit: int) -> list[JobRecord]:
    """Return jobs whose leases ran out, those of a state that ran out first; ``limit`` of each state at most."""
    found: list[JobRecord] = []
    for leased in _LEASED:
        over, first = and_(leased, jobs.c.lease_until < tx.now), (jobs.c.lease_until,)
        found += transitions.select_records(tx, over, order_by=first, limit=limit)
    return found


def take_back(tx: Transaction, job: JobRecord, engine: Engine) -> JobRecord | None:
    """Take one lapsed job back: unsent ones wait again, those in mid-create are looked up."""
    if job.state is State.DISPATCHED:
        return transitions.given_back(tx, job, "nobody picked it up in time", actor=engine.actor)
    why = Reason("outcome_unknown", "the worker that sent the create did not report back")
    soon = tx.now + backoff.look_again(0, engine.parts.dice)
    return transitions.unknown(tx, job, Event.LAPSED, why, actor=engine.actor, run_after=soon)


class Intake:
    """Validates jobs that were accepted before the first catalog was read."""

    name = "intake"
    lease = timedelta(seconds=30)

    def __init__(self, engine: Engine, guards: Guards | None = None) -> None:
        self._engine = engine
        self._guards = guards or Guards()

    def wanted(self, tx: Transaction) -> datetime | None:
        """Return now where a job waits for a catalog that is there by now."""
        return None if tx.execute(_ANY_SUBMITTED).first() is None else tx.now

    def run(self, claim: Claim) -> datetime:  # noqa: ARG002 - every chore is called alike
        """Do it; return when to do it again."""
        engine = self._engine
        with engine.parts.database.read() as tx:
            names = list(tx.execute(_ACCOUNTS).scalars())
        found = {name: engine.parts.catalogs(name) for name in names}
        with engine.parts.database.write() as tx:
            for name, catalog in found.items():
                if catalog is not None:
                    self._validate(tx, name, catalog)
            return tx.now + engine.pace.tick

    def _validate(self, tx: Transaction, account: str, catalog: Catalog) -> None:
        actor = self._engine.actor
        while fleets.validate_submitted(tx, catalog, account_id=account, actor=actor, guards=self._guards):
            pass
