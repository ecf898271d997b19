"""A fleet's events in the order of their ids, for readers who come back: none is left out, none comes twice.

Ids are given out before a transaction commits, so that a higher one may be seen first. A reader who went on from it
would miss the lower one. So events are read up to a horizon only: the highest id below which every writer is done.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select, text

from jobs.database import Database, Transaction
from jobs.queries import find_fleet
from jobs.records import accounts, fleets, installation, job_events, jobs, rate_windows
from jobs.views import FleetView, moment

PAGE: Final = 500
KEPT: Final = 2_000
"""So many of the newest events are kept for all the feeds of a process; whoever needs older ones asks the database."""
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
    fleet_id: str = ""

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


@dataclass(frozen=True)
class Look:
    """What one look at the events of all fleets saw: those after ``since`` up to ``settled``, by their fleets."""

    settled: int = 0
    since: int = 0
    by_fleet: Mapping[str, tuple[FeedEvent, ...]] = field(default_factory=dict)

    def of(self, fleet_id: str, after: int) -> tuple[FeedEvent, ...]:
        """Return a fleet's events after one that is not older than ``since``."""
        return tuple(event for event in self.by_fleet.get(fleet_id, ()) if event.id > after)


@dataclass(frozen=True)
class Standing:
    """A fleet as it was read once everything up to ``settled`` was there; nothing above ``latest`` was there yet."""

    fleet: FleetView
    settled: int
    latest: int


class Lookout:
    """Looks at the events once for all the feeds of a process, so that a hundred cost hardly more than one."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._horizon = Horizon(monotonic)
        self._lock = threading.Lock()
        self._seen = Look()
        self._standings: dict[str, Standing] = {}

    def look(self) -> Look:
        """Look again. Returns the same object where there is nothing new."""
        with self._lock, self._database.read() as tx:
            self._horizon.advance(tx)
            if self._horizon.settled > self._seen.settled:
                self._seen = _onwards(tx, self._seen, self._horizon.settled)
            return self._seen

    def standing(self, fleet: FleetView, after: int) -> Standing:
        """Return the fleet as it stood once the event ``after`` was there; read once for all who ask for that."""
        with self._lock:
            found = self._standings.get(fleet.id)
            if found is None or found.settled < after:
                found = self._standings[fleet.id] = self._read(found.fleet if found else fleet)
            return found

    def _read(self, fleet: FleetView) -> Standing:
        if len(self._standings) > PAGE:
            self._standings.clear()
        settled = self._seen.settled  # before the fleet is read: later events may be missing in it
        with self._database.read() as tx:
            found = find_fleet(tx, fleet.id, tenant=fleet.tenant) or fleet
            return Standing(found, settled, tx.execute(_HIGHEST).scalar() or 0)


def _onwards(tx: Transaction, seen: Look, settled: int) -> Look:
    """Return a look with what came since the one before; a first one, or one after very much, has nothing to keep."""
    if not seen.settled:
        return Look(settled, settled)
    new = _events(tx, job_events.c.id > seen.settled, job_events.c.id <= settled, most=KEPT + 1)
    if len(new) > KEPT:
        return Look(settled, settled)
    old = [event for events in seen.by_fleet.values() for event in events]
    kept = sorted([*old, *new], key=lambda event: event.id)
    since = kept[-KEPT - 1].id if len(kept) > KEPT else seen.since
    by_fleet: dict[str, list[FeedEvent]] = {}
    for event in kept[-KEPT:]:
        by_fleet.setdefault(event.fleet_id, []).append(event)
    return Look(settled, since, {fleet_id: tuple(events) for fleet_id, events in by_fleet.items()})


class FleetFeed:
    """The events of one fleet, from its beginning or after one of them. Not for several threads at once.

    Args:
        database: where they are.
        fleet: whose they are.
        after: the event after which it begins.
        monotonic: the clock, of a feed that looks for itself.
        lookout: looks for this feed and others.

    """

    def __init__(
        self,
        database: Database,
        fleet: FleetView,
        *,
        after: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        lookout: Lookout | None = None,
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._after = after
        self._lookout = lookout or Lookout(database, monotonic)
        self._news = True
        self._ends_at: int | None = None

    def poll(self, look: Look | None = None) -> Batch:
        """Return what is there and was not returned yet; ``look``: one that was just taken. Never waits."""
        begin = self._begin()
        # The fleet is read first: an end that comes after it is found by the next poll.
        self._note_end(begin)
        seen = self._lookout.look() if look is None else look
        return self._batch(self._after_which(seen, begin), max(seen.settled, begin))

    def glance(self, look: Look) -> Batch | None:
        """Return as :meth:`poll` does, without a question to the database; None: that needs one."""
        if self._after is None or self._news or self._after < look.since:
            return None
        return self._batch(look.of(self._fleet.id, self._after)[:PAGE], max(look.settled, self._after))

    def _begin(self) -> int:
        if self._after is None:
            with self._database.read() as tx:
                self._after = _before(tx, self._fleet.id)
        return self._after

    def _after_which(self, seen: Look, after: int) -> tuple[FeedEvent, ...]:
        if after >= seen.since:
            return seen.of(self._fleet.id, after)[:PAGE]
        with self._database.read() as tx:
            mine = jobs.c.fleet_id == self._fleet.id
            return _events(tx, mine, job_events.c.id > after, job_events.c.id <= seen.settled, most=PAGE)

    def _note_end(self, after: int) -> None:
        """Note whether the fleet has ended. Without news it cannot have: each change is an event."""
        if not self._news:
            return
        found = self._lookout.standing(self._fleet, after)
        self._fleet, self._news = found.fleet, False
        if found.fleet.settled:
            self._ends_at = found.latest

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


def _events(tx: Transaction, *which: ColumnElement[bool], most: int) -> tuple[FeedEvent, ...]:
    statement = (
        select(job_events, jobs.c.label, jobs.c.position, jobs.c.fleet_id)
        .join(jobs, jobs.c.id == job_events.c.job_id)
        .where(*which)
        .order_by(job_events.c.id)
        .limit(most)
    )
    names = ("id", "job_id", "fleet_id", "label", "position", "at", "event", "state", "actor")
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


def stamp(tx: Transaction) -> tuple[object, ...]:
    """Return something that differs once a job, a window or a pause has changed: cheap to read again and again."""
    windows = [
        rate_windows.c.generation,
        rate_windows.c.spent,
        rate_windows.c.refused,
        rate_windows.c.allowed,
    ]
    held = select(accounts.c.id, accounts.c.held_at, accounts.c.paused_at).order_by(accounts.c.id)
    paused = select(func.count(), func.max(fleets.c.held_at)).where(fleets.c.held_at.is_not(None))
    return (
        tx.execute(_HIGHEST).scalar(),
        tx.execute(select(*(func.sum(column) for column in windows))).one(),
        tx.execute(select(installation.c.held_at)).scalar(),
        tx.execute(paused).one(),
        *tx.execute(held),
    )
