"""Destroy: a dry run that says what would go, a confirmation of exactly that, and the marks that make it go.

The confirmation is a digest over who asks for what and over what would go, good for 15 minutes. It protects from
mistakes: whoever confirms has seen a list, and nothing that came after it is touched. The worker's removal deletes what
is marked, with its own proof that it is ours; until then everything stands in the rows, so nothing is lost by a kill.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, or_, select

from jobs import picks, transitions
from jobs.database import Database, Transaction
from jobs.picks import Pick, Refusal
from jobs.records import RECORD_COLUMNS, JobRecord, jobs, record
from jobs.states import State
from jobs.views import usd

GOOD_FOR: Final = timedelta(minutes=15)
MOST_SHOWN: Final = 1000
"""So many jobs of a dry run are listed; all are counted."""
_CHUNK: Final = 200
_ROUNDS: Final = 200
_PAUSE: Final = 0.05
_WITH_INSTANCE: Final = frozenset({State.BOOTING, State.RUNNING, State.FAILED})
_WAITING: Final = frozenset({State.SUBMITTED, State.QUEUED, State.DISPATCHED})
_UNDER_WAY: Final = frozenset({State.CREATING, State.UNCERTAIN})
_ENDED: Final = frozenset({State.REJECTED, State.CANCELLED, State.DELETED})


class ConfirmationRefused(Exception):  # noqa: N818 - the words of the answer
    """A destroy without a confirmation, or with one that no longer holds. Nothing was done."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Target:
    """One job that would go, as it was seen."""

    id: str
    label: str
    state: State
    linode_id: int | None
    region: str
    hourly_microusd: int

    @property
    def owns(self) -> bool:
        """Whether an instance would be deleted."""
        return self.linode_id is not None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "id": self.id,
            "label": self.label,
            "state": self.state.value,
            "linode_id": self.linode_id,
            "region": self.region,
            "hourly_usd": usd(self.hourly_microusd),
        }


@dataclass(frozen=True)
class Preview:
    """What a destroy would do."""

    targets: tuple[Target, ...]
    refused: tuple[Refusal, ...]
    confirm: str
    expires_at: datetime

    @property
    def hourly_microusd(self) -> int:
        """What the instances that would go cost an hour."""
        return sum(one.hourly_microusd for one in self.targets if one.owns)

    def count(self, *, owns: bool) -> int:
        """Return how many jobs with, or without, an instance would go."""
        return sum(one.owns is owns for one in self.targets)


@dataclass
class Destroyed:
    """What a destroy came to."""

    deleting: int = 0
    """Their instances are being deleted."""
    cancelled: int = 0
    """Ended at once: nothing had been bought."""
    noted: int = 0
    """Under way: they end, or are deleted, as soon as their create's outcome is known."""
    refused: list[Refusal] = field(default_factory=list)


# Looking -------------------------------------------------------------------------------------------------------------


def select_targets(tx: Transaction, pick: Pick) -> list[Target]:
    """Return the jobs that are picked, by position; with explicit ids also those that ended.

    Raises:
        UnknownJobError: one of the ids is none of the fleet's.

    """
    picks.check(tx, pick)
    columns = (jobs.c.id, jobs.c.label, jobs.c.state, jobs.c.linode_id, jobs.c.region, jobs.c.hourly_microusd)
    found = picks.selected(tx, pick, *columns, jobs.c.got_region).order_by(jobs.c.position)
    if pick.ids is None:
        gone = jobs.c.state.in_([state.value for state in _ENDED])
        empty = and_(jobs.c.state == State.FAILED.value, jobs.c.linode_id.is_(None))
        found = found.where(~or_(gone, empty))
    return [
        Target(row.id, row.label, State(row.state), row.linode_id, row.got_region or row.region, row[5])
        for row in tx.execute(found)
    ]


def split(found: Sequence[Target]) -> tuple[tuple[Target, ...], tuple[Refusal, ...]]:
    """Return what would go, and what is left as it is because there is nothing to delete."""
    refused = tuple(_nothing_to_do(one) for one in found if _is_over(one))
    return tuple(one for one in found if not _is_over(one)), refused


def _is_over(one: Target) -> bool:
    return one.state in _ENDED or (one.state is State.FAILED and not one.owns)


def _nothing_to_do(one: Target) -> Refusal:
    words = f"it is {one.state} and has no instance"
    return Refusal(one.id, one.label, one.state.value, "nothing_to_destroy", words, "leave it as it is")


# Confirming ----------------------------------------------------------------------------------------------------------


def confirmation(pick: Pick, targets: Sequence[Target], until: datetime) -> str:
    """Return what confirms a destroy of exactly these jobs and instances, until then."""
    seconds = int(until.timestamp())
    named = None if pick.ids is None else sorted(pick.ids)
    asked = json.dumps([pick.tenant, pick.where.to_json(), named, seconds], sort_keys=True)
    digest = hashlib.sha256(asked.encode())
    for one in targets:
        digest.update(f"\n{one.id} {one.linode_id}".encode())
    return f"{seconds:x}-{digest.hexdigest()[:32]}"


def check(token: str, pick: Pick, targets: Sequence[Target], now: datetime) -> None:
    """Do nothing where ``token`` confirms a destroy of these jobs now. Raises ConfirmationRefused."""
    again = "look again with a dry run, and confirm what it shows"
    until = _until(token)
    if until is None or until > now + GOOD_FOR:
        raise ConfirmationRefused("confirmation_invalid", f"this is no confirmation of a dry run; {again}")
    if until < now:
        raise ConfirmationRefused("confirmation_expired", f"the confirmation is too old; {again}")
    if token != confirmation(pick, targets, until):
        raise ConfirmationRefused(
            "confirmation_outdated",
            f"what would go is no longer what the dry run showed, or something else is asked for; {again}. "
            "A fleet that is at work stands still after `nodewright pause`",
        )


def _until(token: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(token.partition("-")[0], 16), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def preview(tx: Transaction, pick: Pick, found: Sequence[Target]) -> Preview:
    """Return what a destroy would do, and what confirms it."""
    targets, refused = split(found)
    # In whole seconds, as the confirmation says it.
    until = (tx.now + GOOD_FOR).replace(microsecond=0)
    return Preview(targets, refused, confirmation(pick, targets, until), until)


# Acting --------------------------------------------------------------------------------------------------------------


def destroy(
    database: Database, targets: Sequence[Target], *, actor: str, wait: Callable[[float], object]
) -> Destroyed:
    """Mark what was confirmed, a chunk a transaction: a kill in between leaves the rest as it was.

    A job that somebody else holds at that moment is tried again for a while, 10 s at most.
    """
    done = Destroyed()
    left = list(targets)
    for _ in range(_ROUNDS):
        busy: list[Target] = []
        for start in range(0, len(left), _CHUNK):
            with database.write() as tx:
                busy += _destroy_some(tx, left[start : start + _CHUNK], done, actor=actor)
        if not busy:
            return done
        left = busy
        wait(_PAUSE)
    done.refused += [_busy(one) for one in left]
    return done


def _busy(one: Target) -> Refusal:
    return Refusal(one.id, one.label, one.state.value, "job_busy", "somebody moves it right now", "try again")


def _destroy_some(tx: Transaction, some: Sequence[Target], done: Destroyed, *, actor: str) -> list[Target]:
    """Mark a chunk, but for what somebody else holds, which is returned."""
    free = (jobs.c.id.in_([one.id for one in some]),)
    locked = select(*RECORD_COLUMNS).where(*free).order_by(jobs.c.id).with_for_update(skip_locked=True)
    found = {job.id: job for job in map(record, tx.execute(locked))}
    mine = [(one, found[one.id]) for one in some if one.id in found]
    same = [job for one, job in mine if not _is_another(one, job)]
    done.refused += [_moved_on(one, job) for one, job in mine if _is_another(one, job)]
    _mark(tx, same, done, actor=actor)
    return [one for one in some if one.id not in found]


def _is_another(one: Target, job: JobRecord) -> bool:
    """Whether the job has another instance than the one that was confirmed, or none any more."""
    return job.linode_id != one.linode_id or _is_over(replace(one, state=job.state, linode_id=job.linode_id))


def _moved_on(one: Target, job: JobRecord) -> Refusal:
    owns = "no instance" if job.linode_id is None else f"instance {job.linode_id}"
    words = f"it changed since: it is {job.state} and has {owns}"
    return Refusal(one.id, one.label, job.state.value, "job_changed", words, "look again with a dry run")


def _mark(tx: Transaction, found: Sequence[JobRecord], done: Destroyed, *, actor: str) -> None:
    owning = [job for job in found if job.state in _WITH_INSTANCE or job.afterwards is not None]
    going = [job for job in found if job.state is State.DELETING and job.afterwards is None]
    waiting = [job for job in found if job.state in _WAITING and job.last_unknown_at is None]
    unsure = [job for job in found if job.state in _WAITING | _UNDER_WAY and job not in waiting]
    transitions.all_destroyed(tx, owning, actor=actor)
    transitions.all_cancelled(tx, waiting, actor=actor)
    for job in unsure:
        if job.ending != "cancel":
            transitions.cancel_noted(tx, job, actor=actor)
    done.deleting += len(owning) + len(going)
    done.cancelled += len(waiting)
    done.noted += len(unsure)
