"""A fleet's events in the order of their ids, for readers who come back: none is left out, none comes twice.

Ids are given out before a transaction commits, so that a higher one may be seen first. A reader who went on from it
would miss the lower one. So events are read up to a horizon only: the highest id below which every writer is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select, text

from jobs.database import Database, Transaction
from jobs.queries import find_fleet
from jobs.records import job_events, jobs
from jobs.views import FleetView, moment

PAGE: Final = 500
LARGEST_ID: Final = 2**63 - 1
SETTLE_SECONDS: Final = 30.0
"""No transaction of ours takes so long. One of somebody else's in the same server may, and must not stop the feed."""


_HIGHEST: Final = select(func.max(job_events.c.id))
_OWN: Final = text("SELECT pg_current_xact_id()::text::bigint")
_OLDEST: Final = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")


@dataclass(frozen=True)
class FeedEvent:
    """Something that happened to one job of a fleet."""

    id: int
    job_id: str
    label: str
    position: int
    at: datetime
    event: str
    state: str
    actor: str
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "id": str(self.id),
            "job_id": self.job_id,
            "label": self.label,
            "position": self.position,
            "at": moment(self.at),
            "event": self.event,
            "state": self.state,
            "actor": self.actor,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Batch:
    """Some events. ``more``: others are there already. ``ended``: the fleet as it ended; nothing follows."""

    events: tuple[FeedEvent, ...] = ()
    more: bool = False
    ended: FleetView | None = None


class Horizon:
    """Up to which event id all writers are done, or were given up. One reader's; it is asked again and again.

    ``patience``: for so many seconds a transaction that stays open is waited for.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, *, patience: float = SETTLE_SECONDS
    ) -> None:
        self._monotonic = monotonic
        self._patience = patience
        self._pending: tuple[int, int, float] | None = None
        self.settled = 0
        self.latest = 0

    def advance(self, tx: Transaction) -> None:
        """Look again. ``latest`` is the highest id that is visible now, ``settled`` the horizon."""
        self.latest = tx.execute(_HIGHEST).scalar() or 0
        if tx.on_sqlite:  # one writer at a time: ids become visible in their order
            self.settled = self.latest
            return
        if self._pending is None and self.latest > self.settled:
            # Whoever writes has a transaction id before it takes an event's: those that matter are lower than ours.
            self._pending = (self.latest, tx.execute(_OWN).scalar_one(), self._monotonic())
        if self._pending is not None and self._is_over(tx):
            self.settled, self._pending = self._pending[0], None

    def _is_over(self, tx: Transaction) -> bool:
        if self._pending is None:
            return True
        _, ours, since = self._pending
        oldest: int = tx.execute(_OLDEST).scalar_one()
        return oldest >= ours or self._monotonic() - since > self._patience


class FleetFeed:
    """The events of one fleet, from its beginning or after one of them. Not for several threads at once."""

    def __init__(
        self,
        database: Database,
        fleet: FleetView,
        *,
        after: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._after = after
        self._horizon = Horizon(monotonic)
        self._news = True
        self._ends_at: int | None = None

    def poll(self) -> Batch:
        """Return what is there and was not returned yet. Never waits."""
        with self._database.read() as tx:
            if self._after is None:
                self._after = _before(tx, self._fleet.id)
            settled = self._looks_settled(tx)
            self._horizon.advance(tx)
            if settled:
                self._ends_at = self._horizon.latest
            upto = max(self._horizon.settled, self._after)
            events = _events(tx, self._fleet.id, self._after, upto)
        return self._batch(events, upto)

    def _looks_settled(self, tx: Transaction) -> bool:
        """Whether the fleet has just been found ended. Without news it cannot have: each change is an event."""
        if not self._news:
            return False
        found = find_fleet(tx, self._fleet.id, tenant=self._fleet.tenant)
        self._fleet, self._news = found or self._fleet, False
        return self._fleet.settled

    def _batch(self, events: tuple[FeedEvent, ...], upto: int) -> Batch:
        if events:
            self._news, self._ends_at = True, None
        more = len(events) == PAGE
        # What was looked through need not be looked through again.
        self._after = events[-1].id if more else upto
        ended = not events and self._ends_at is not None and upto >= self._ends_at
        return Batch(events, more, self._fleet if ended else None)


def _before(tx: Transaction, fleet_id: str) -> int:
    """Return the id just before the fleet's first event."""
    first = select(jobs.c.id).where(jobs.c.fleet_id == fleet_id).order_by(jobs.c.position).limit(1)
    lowest = select(func.min(job_events.c.id)).where(job_events.c.job_id == first.scalar_subquery())
    return (tx.execute(lowest).scalar() or 1) - 1


def _events(tx: Transaction, fleet_id: str, after: int, upto: int) -> tuple[FeedEvent, ...]:
    statement = (
        select(job_events, jobs.c.label, jobs.c.position)
        .join(jobs, jobs.c.id == job_events.c.job_id)
        .where(jobs.c.fleet_id == fleet_id, job_events.c.id > after, job_events.c.id <= upto)
        .order_by(job_events.c.id)
        .limit(PAGE)
    )
    names = ("id", "job_id", "label", "position", "at", "event", "state", "actor")
    return tuple(
        FeedEvent(**{name: getattr(row, name) for name in names}, detail=row.detail or {})
        for row in tx.execute(statement)
    )


def is_event_of(tx: Transaction, fleet_id: str, event_id: int) -> bool:
    """Whether the fleet has an event of this id."""
    if not 0 < event_id <= LARGEST_ID:
        return False
    found = select(job_events.c.id).join(jobs, jobs.c.id == job_events.c.job_id)
    return (
        tx.execute(found.where(job_events.c.id == event_id, jobs.c.fleet_id == fleet_id)).first() is not None
    )
