"""What time and policy end: jobs that wait past their deadline or in a stopped fleet, instances that lived too long."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from jobs import transitions
from jobs.database import Transaction
from jobs.periods import span
from jobs.records import JobRecord, fleets, in_state, jobs
from jobs.requests import INVALID_REQUEST, LONGEST_SECONDS, RequestFault
from jobs.states import Event, State
from jobs.transitions import Reason

NOTICE_SHARE: Final = 0.1
"""The end of a time to live is announced when so much of it is left …"""
LONGEST_NOTICE: Final = timedelta(hours=1)
"""… and no earlier than this before it."""
CHUNK: Final = 500

_UNNOTED: Final = and_(in_state(State.UNCERTAIN), jobs.c.ending.is_(None))
_ENDED_NOW: Final = or_(in_state(State.SUBMITTED, State.QUEUED, State.DISPATCHED), _UNNOTED)
_OF_FLEET: Final = jobs.c.fleet_id == fleets.c.id
_HAS_INSTANCE: Final = and_(
    in_state(State.BOOTING, State.RUNNING, State.FAILED), jobs.c.linode_id.is_not(None)
)
_NEXT_DEADLINE: Final = select(func.min(fleets.c.deadline_at)).where(fleets.c.deadline_at.is_not(None))
_NEXT_EXPIRY: Final = select(func.min(jobs.c.expires_at)).where(jobs.c.expires_at.is_not(None), _HAS_INSTANCE)
_STOPPED: Final = and_(fleets.c.stopped_at.is_not(None), exists().where(_OF_FLEET, _ENDED_NOW))
_ANY_STOPPED: Final = select(fleets.c.id).where(_STOPPED).limit(1)
_PAST: Final = and_(fleets.c.deadline_at.is_not(None), fleets.c.deadline_at <= bindparam("now"))


def next_due(tx: Transaction) -> datetime | None:
    """Return when the next deadline or time to live is over, or now where a stopped fleet has jobs that wait."""
    if tx.execute(_ANY_STOPPED).first() is not None:
        return tx.now
    moments = [tx.execute(_NEXT_DEADLINE).scalar(), tx.execute(_NEXT_EXPIRY).scalar()]
    return min((moment for moment in moments if moment is not None), default=None)


# Stopped fleets, deadlines -------------------------------------------------------------------------------------------


def end_stopped(tx: Transaction, *, actor: str, limit: int = CHUNK) -> int:
    """End waiting jobs of stopped fleets, and note the end where a send is unknown; return how many were seen to."""
    rows = tx.execute(select(fleets.c.id, fleets.c.stop_reason).where(_STOPPED).limit(1)).all()
    return sum(_end(tx, row.id, Event.STOPPED, _stopped(row.stop_reason), actor, limit) for row in rows)


def _stopped(words: str | None) -> Reason:
    return Reason("stopped_by_policy", f"its fleet was stopped by on_failure: {words}")


def end_overdue(tx: Transaction, *, actor: str, limit: int = CHUNK) -> int:
    """End waiting jobs of fleets whose deadline has passed; return how many were seen to.

    A deadline is forgotten once nothing of its fleet can come back to waiting: what is being created may.
    """
    due = select(fleets.c.id, fleets.c.deadline_at).where(_PAST).order_by(fleets.c.deadline_at)
    for row in tx.execute(due, {"now": tx.now}):
        why = Reason("deadline_exceeded", f"not bought by its deadline, {row.deadline_at.isoformat()}")
        ended = _end(tx, row.id, Event.DEADLINE_PASSED, why, actor, limit)
        if ended:
            return ended
        _forget_deadline(tx, row.id)
    return 0


def _forget_deadline(tx: Transaction, fleet_id: str) -> None:
    may_wait = or_(_ENDED_NOW, in_state(State.CREATING))
    open_ones = exists().where(jobs.c.fleet_id == fleet_id, may_wait)
    tx.execute(update(fleets).where(fleets.c.id == fleet_id, ~open_ones).values(deadline_at=None))


def _end(tx: Transaction, fleet_id: str, event: Event, why: Reason, actor: str, limit: int) -> int:
    found = _hold(tx, jobs.c.fleet_id == fleet_id, _ENDED_NOW, limit=limit)
    sure = [job for job in found if job.last_unknown_at is None]
    ended = len(transitions.all_ended_waiting(tx, sure, event, why, actor=actor))
    unknown = [job for job in found if job.last_unknown_at is not None]
    return ended + sum(
        transitions.ended_waiting(tx, job, event, why, actor=actor) is not None for job in unknown
    )


def _hold(tx: Transaction, *where: Any, order: Any = jobs.c.id, limit: int) -> list[JobRecord]:  # noqa: ANN401 - SQLAlchemy
    """Return jobs, locked; those that somebody else holds are left for the next time."""
    free = select(jobs.c.id).where(*where).order_by(order).limit(limit)
    ids = tx.execute(free.with_for_update(skip_locked=True)).scalars().all()
    return transitions.select_records(tx, jobs.c.id.in_(ids)) if ids else []


# Time to live --------------------------------------------------------------------------------------------------------


def end_expired(tx: Transaction, *, actor: str, limit: int = CHUNK) -> int:
    """Have instances deleted whose time to live is over; return how many."""
    over = and_(jobs.c.expires_at.is_not(None), jobs.c.expires_at <= tx.now, _HAS_INSTANCE)
    found = _hold(tx, over, order=jobs.c.expires_at, limit=limit)
    return sum(transitions.ttl_over(tx, job, actor=actor) is not None for job in found)


@dataclass(frozen=True)
class Soon:
    """A fleet some of whose instances are about to be deleted: how many, and when the first of them is."""

    fleet_id: str
    fleet: str
    tenant: str
    count: int
    expires_at: datetime


def soon(tx: Transaction, *where: Any) -> list[Soon]:  # noqa: ANN401 - SQLAlchemy expressions
    """Return the fleets whose instances are deleted soon, the first one first: what is to be announced.

    Soon: when a tenth of their time to live is left, an hour at most. ``where``: further conditions on jobs.
    """
    near = and_(
        jobs.c.expires_at.is_not(None), jobs.c.expires_at <= tx.now + LONGEST_NOTICE, _HAS_INSTANCE, *where
    )
    columns = (jobs.c.fleet_id, jobs.c.ttl_seconds, func.count(), func.min(jobs.c.expires_at))
    grouped = tx.execute(select(*columns).where(near).group_by(jobs.c.fleet_id, jobs.c.ttl_seconds)).all()
    announced = [row for row in grouped if row[3] - tx.now <= notice(row[1] or 0)]
    names = _names(tx, [row[0] for row in announced])
    found = [Soon(row[0], *names[row[0]], row[2], row[3]) for row in announced]
    return sorted(found, key=lambda one: (one.expires_at, one.fleet_id))


def notice(ttl_seconds: int) -> timedelta:
    """Return how long before its end a time to live is announced."""
    return min(timedelta(seconds=ttl_seconds * NOTICE_SHARE), LONGEST_NOTICE)


def _names(tx: Transaction, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    rows = tx.execute(select(fleets.c.id, fleets.c.name, fleets.c.tenant_id).where(fleets.c.id.in_(ids)))
    return {row.id: (row.name, row.tenant_id) for row in rows}


def extend(tx: Transaction, fleet_id: str, seconds: int) -> int | None:
    """Lengthen a fleet's time to live; return what it is now. None: it has none, or it would be too long.

    Jobs have the old one until :func:`extend_jobs` has reached them.
    """
    longer = fleets.c.ttl_seconds + seconds
    fits = (fleets.c.id == fleet_id, fleets.c.ttl_seconds.is_not(None), longer <= LONGEST_SECONDS)
    changed = update(fleets).where(*fits).values(ttl_seconds=longer).returning(fleets.c.ttl_seconds)
    found: int | None = tx.execute(changed).scalar()
    return found


def too_long(ttl_seconds: int, seconds: int) -> RequestFault:
    """Return the refusal of an extension beyond the longest time to live."""
    longest = LONGEST_SECONDS - ttl_seconds
    return RequestFault(
        code=INVALID_REQUEST,
        pointer="/extend",
        field="extend",
        value=seconds,
        message=f"a time to live is at most {span(LONGEST_SECONDS)}, and this one is {span(ttl_seconds)} already",
        remedy=f"extend it by {span(longest)} at most" if longest > 0 else "leave it as it is",
    )


_LIVES: Final = jobs.c.state.not_in(
    [State.REJECTED.value, State.CANCELLED.value, State.DELETING.value, State.DELETED.value]
)
_LENGTHEN: Final = (
    update(jobs)
    .where(jobs.c.id == bindparam("which"))
    .values(
        ttl_seconds=bindparam("ttl"),
        expires_at=bindparam("until", type_=jobs.c.expires_at.type),
        # Whoever is about to write down its instance read the old one: he is told to read again.
        version=jobs.c.version + 1,
    )
)


def extend_jobs(tx: Transaction, fleet_id: str, seconds: int, *, after: str | None) -> tuple[int, str | None]:
    """Lengthen the time to live of a chunk of the fleet's jobs, those with ids after ``after``.

    Returns:
        How many, and after which id the next chunk begins; None: that was all. What is being deleted stays so.

    """
    where = [jobs.c.fleet_id == fleet_id, jobs.c.ttl_seconds.is_not(None), _LIVES]
    if after is not None:
        where.append(jobs.c.id > after)
    columns = (jobs.c.id, jobs.c.ttl_seconds, jobs.c.expires_at)
    rows = tx.execute(select(*columns).where(*where).order_by(jobs.c.id).limit(CHUNK).with_for_update()).all()
    longer = timedelta(seconds=seconds)
    changes = [
        {
            "which": row.id,
            "ttl": row.ttl_seconds + seconds,
            "until": None if row.expires_at is None else row.expires_at + longer,
        }
        for row in rows
    ]
    if changes:
        tx.execute(_LENGTHEN, changes)
    return len(rows), rows[-1].id if len(rows) == CHUNK else None
