"""Recurring duties as rows: due at a moment, leased, so that one worker at a time does each."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, and_, bindparam, case, func, or_, select, update

from jobs import tallies
from jobs.database import Transaction
from jobs.records import chores


@dataclass(frozen=True)
class Claim:
    """The right to do a chore until ``lease_until``; the fence keeps a late worker from finishing it."""

    name: str
    fence: int
    lease_until: datetime
    state: dict[str, Any]


def ensure(tx: Transaction, names: Iterable[str]) -> None:
    """Make sure that each chore has a row, due at once."""
    known = set(tx.execute(select(chores.c.name)).scalars())
    for name in names:
        if name not in known:
            tx.insert_missing(chores, {"name": name, "due_at": tx.now, "fence": 0})


# Each turn of each worker's loop asks these, so they are built once.
_NOW: Final[BindParameter[Any]] = bindparam("now")
_FREE: Final = and_(
    chores.c.due_at <= _NOW, or_(chores.c.lease_until.is_(None), chores.c.lease_until <= _NOW)
)
_DUE: Final = select(chores.c.name).where(_FREE).order_by(chores.c.due_at)
_NEXT_DUE: Final = select(func.min(chores.c.due_at)).where(
    chores.c.lease_until.is_(None), chores.c.due_at > _NOW
)
_REMEMBERED: Final = select(chores.c.state).where(chores.c.name == bindparam("name"))
_CLAIM: Final = (
    update(chores)
    .where(chores.c.name == bindparam("which"), _FREE)
    .values(owner=bindparam("by"), lease_until=bindparam("until"), fence=chores.c.fence + 1, hastened_at=None)
    .returning(chores.c.fence, chores.c.state)
)


def due(tx: Transaction) -> list[str]:
    """Return the names of the chores that somebody should do now. A cheap read, before a claim."""
    return list(tx.execute(_DUE, {"now": tx.now}).scalars())


def next_due(tx: Transaction) -> datetime | None:
    """Return when the next chore is due that is not due yet and that nobody does already."""
    moment: datetime | None = tx.execute(_NEXT_DUE, {"now": tx.now}).scalar()
    return moment


def claim(tx: Transaction, name: str, *, owner: str, lease: timedelta) -> Claim | None:
    """Lease the chore if it is still due and free; None: somebody else has it."""
    until = tx.now + lease
    row = tx.execute(_CLAIM, {"which": name, "now": tx.now, "by": owner, "until": until}).first()
    return None if row is None else Claim(name, row[0], until, row[1] or {})


def finish(
    tx: Transaction,
    done: Claim,
    *,
    due_at: datetime,
    state: dict[str, Any] | None = None,
    error: str | None = None,
) -> bool:
    """Give the chore back, due again at ``due_at``, or earlier where somebody hastened it meanwhile.

    False: the lease was lost to somebody else in between.
    """
    outcome = {"failed_at": tx.now, "error": error} if error else {"succeeded_at": tx.now, "error": None}
    values = {
        "lease_until": None,
        "owner": None,
        "state": state or done.state,
        "hastened_at": None,
        **outcome,
    }
    values["due_at"] = case((chores.c.hastened_at < due_at, chores.c.hastened_at), else_=due_at)
    guard = and_(chores.c.name == done.name, chores.c.fence == done.fence)
    finished = bool(tx.execute(update(chores).where(guard).values(**values)).rowcount)
    if finished and error:
        tallies.chore_failed(tx, done.name)
    return finished


def remembered(tx: Transaction, name: str) -> dict[str, Any]:
    """Return what the chore wanted to remember from its last run."""
    state: dict[str, Any] | None = tx.execute(_REMEMBERED, {"name": name}).scalar()
    return state or {}


def hasten(tx: Transaction, name: str, at: datetime) -> None:
    """Make the chore due at ``at`` if it would be due later. One that is being done is done once more."""
    idle = and_(chores.c.name == name, chores.c.lease_until.is_(None), chores.c.due_at > at)
    tx.execute(update(chores).where(idle).values(due_at=at))
    later = or_(chores.c.hastened_at.is_(None), chores.c.hastened_at > at)
    running = and_(chores.c.name == name, chores.c.lease_until.is_not(None), later)
    tx.execute(update(chores).where(running).values(hastened_at=at))
