"""Cancel: what is not bought yet ends at once; what is under way is finished, then deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jobs import picks, transitions
from jobs.database import Database, Transaction
from jobs.picks import Pick, Refusal
from jobs.records import JobRecord, jobs
from jobs.states import State

NOT_CANCELLABLE: Final = "not_cancellable"
UNBOUGHT: Final = (State.SUBMITTED, State.QUEUED, State.DISPATCHED, State.CREATING, State.UNCERTAIN)
"""What a cancel takes back."""
_OVER: Final = frozenset({State.CANCELLED, State.DELETING, State.DELETED})


@dataclass(frozen=True)
class Cancelled:
    """What a cancel came to."""

    cancelled: int
    """Ended at once: nothing had been bought."""
    noted: int
    """Under way: they end, or are deleted, as soon as their create's outcome is known."""
    refused: tuple[Refusal, ...] = ()
    """Those of the jobs that were named by their ids that own an instance, or have ended otherwise."""


def cancel(database: Database, pick: Pick, *, actor: str) -> Cancelled:
    """Cancel the jobs that are picked, a chunk at a time; sent again it goes on where it was.

    Raises:
        UnknownJobError: one of the ids is none of the fleet's; nothing is done.

    """
    with database.read() as tx:
        picks.check(tx, pick)
    cancelled = noted = 0
    refused: list[Refusal] = []
    for ids in picks.pages(database, pick):
        missed = 1
        while missed:  # somebody moved a job meanwhile
            with database.write() as tx:
                ended, waiting, missed = _cancel_some(tx, pick, ids, actor=actor)
            cancelled, noted = cancelled + ended, noted + waiting
        if pick.ids is not None:
            with database.read() as tx:
                refused += _refusals(tx, ids)
    return Cancelled(cancelled, noted, tuple(refused))


def _cancel_some(tx: Transaction, pick: Pick, ids: Sequence[str], *, actor: str) -> tuple[int, int, int]:
    """Cancel some jobs; return how many ended, how many are noted, and how many moved meanwhile."""
    still = tx.execute(picks.selected(tx, pick, jobs.c.id).where(jobs.c.id.in_(ids))).scalars().all()
    found = [job for job in transitions.select_records(tx, jobs.c.id.in_(still)) if _may_be(job)]
    return cancel_records(tx, found, actor=actor)


def cancel_records(tx: Transaction, found: Sequence[JobRecord], *, actor: str) -> tuple[int, int, int]:
    """Cancel jobs that own nothing, or wait for a new attempt; return as above."""
    sure = [job for job in found if is_sure(job)]
    ended = len(transitions.all_cancelled(tx, sure, actor=actor))
    noted = sum(_note(tx, job, actor=actor) is not None for job in found if not is_sure(job))
    return ended, noted, len(found) - ended - noted


def _note(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    if job.state is State.DELETING:
        return transitions.destroyed(
            tx, job, actor=actor
        )  # the new attempt that should have followed is void
    return transitions.cancel_noted(tx, job, actor=actor)


def _may_be(job: JobRecord) -> bool:
    unbought = job.state in UNBOUGHT and job.ending != "cancel"
    return unbought or (job.state is State.DELETING and job.afterwards is not None)


def is_sure(job: JobRecord) -> bool:
    """Whether nothing can have been bought for the job."""
    under_way = {State.CREATING, State.UNCERTAIN, State.DELETING}
    return job.state not in under_way and job.last_unknown_at is None


def _refusals(tx: Transaction, ids: Sequence[str]) -> list[Refusal]:
    found = transitions.select_records(tx, jobs.c.id.in_(ids), order_by=(jobs.c.position,))
    return [_refusal(job) for job in found if job.ending != "cancel" and job.state not in _OVER]


def _refusal(job: JobRecord) -> Refusal:
    if job.linode_id is None:
        return picks.refusal(job, NOT_CANCELLABLE, f"it is {job.state} already", "leave it as it is")
    message = (
        f"it is {job.state} and owns instance {job.linode_id}; a cancel takes back only what is not bought"
    )
    return picks.refusal(job, NOT_CANCELLABLE, message, "have its instance deleted: destroy it")
