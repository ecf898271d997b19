"""What can be done to jobs from the page: which ones it is for, what it asks before, and what it says afterwards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.cancelling import UNBOUGHT
from jobs.listing import JobFilter
from jobs.picks import Refusal, Share
from jobs.requests import InvalidRequest
from jobs.retrying import Wishes
from jobs.states import State
from nodewright.page.shown import Visitor
from nodewright.page.views.telling import counted
from nodewright.service.deps import ServiceDeps

_REASONS: Final = 2
"""So many reasons are said; each job tells its own."""
REHEARSAL: Final = Wishes(dry_run=True)


@dataclass(frozen=True)
class Came:
    """What came of one fleet's share: how many ended or were given a new attempt at once, and how many will be."""

    now: int = 0
    later: int = 0
    refused: tuple[Refusal, ...] = ()
    fault: str | None = None
    """Why nothing at all was done."""


@dataclass(frozen=True)
class Verb:
    """Something that can be done to jobs."""

    name: str
    title: str
    states: tuple[State, ...]
    """Those of jobs that it is for."""
    question: Callable[[str], str]
    """Asks whether so many jobs are really meant."""
    none: str
    """Says that it is for none of them."""
    not_now: str
    """Says that it is for some of them, and can be done to none."""
    kind: str
    """How its button looks."""
    act: Callable[[ServiceDeps, Visitor, JobFilter, Share], Came]
    said: Callable[[int, int], Iterator[str]]
    """Yields what was done, in sentences."""

    def does(self, deps: ServiceDeps, visitor: Visitor, where: JobFilter, shares: Sequence[Share]) -> str:
        """Do it, one fleet after the other, and return what to say."""
        came = [self.act(deps, visitor, where, share) for share in shares]
        now, later = sum(one.now for one in came), sum(one.later for one in came)
        words = [*self.said(now, later), *left_out([one for part in came for one in part.refused])]
        words += [
            f"Fleet {share.fleet}: {one.fault}." for share, one in zip(shares, came, strict=True) if one.fault
        ]
        return " ".join(words) or "There was nothing to do any more."


def left_out(refused: Sequence[Refusal]) -> Iterator[str]:
    """Yield for how many jobs nothing is done, and why."""
    if refused:
        yield f"{counted(len(refused), 'job is', 'jobs are')} left as {'it is' if len(refused) == 1 else 'they are'}."
        reasons = dict.fromkeys((one.message, one.remedy) for one in refused)
        for message, remedy in list(reasons)[:_REASONS]:
            first = next(one.label for one in refused if (one.message, one.remedy) == (message, remedy))
            yield f"{first}: {message}; {remedy}."
        if len(reasons) > _REASONS:
            yield f"And {counted(len(reasons) - _REASONS, 'more reason')}."


# Cancel --------------------------------------------------------------------------------------------------------------


def _cancel(deps: ServiceDeps, visitor: Visitor, where: JobFilter, share: Share) -> Came:
    done = deps.service.cancel(
        share.fleet_id, visitor.tenant, actor=visitor.actor, where=where, ids=share.ids
    )
    return Came(done.cancelled, done.noted, done.refused)


def _cancelled(now: int, later: int) -> Iterator[str]:
    if now:
        yield f"{counted(now, 'job was', 'jobs were')} cancelled."
    if later:
        yield f"{counted(later, 'job is', 'jobs are')} being created: finished, then deleted."


CANCEL: Final = Verb(
    name="cancel",
    title="Cancel jobs?",
    states=UNBOUGHT,
    question=lambda jobs: (
        f"Cancel {jobs}? What is not bought yet ends; what is being created is finished, then deleted."
    ),
    none="None of these jobs can be cancelled: a cancel takes back only what is not bought yet.",
    not_now="None of these jobs can be cancelled now.",
    kind="bad",
    act=_cancel,
    said=_cancelled,
)


# Retry ---------------------------------------------------------------------------------------------------------------


def _retry(deps: ServiceDeps, visitor: Visitor, where: JobFilter, share: Share) -> Came:
    return _retried(deps, visitor, where, share, Wishes())


def rehearse(deps: ServiceDeps, visitor: Visitor, where: JobFilter, share: Share) -> Came:
    """Return what a retry would come to; nothing is changed."""
    return _retried(deps, visitor, where, share, REHEARSAL)


def _retried(deps: ServiceDeps, visitor: Visitor, where: JobFilter, share: Share, wishes: Wishes) -> Came:
    ref, tenant, actor = share.fleet_id, visitor.tenant, visitor.actor
    try:
        done = deps.service.retry(ref, tenant, actor=actor, where=where, ids=share.ids, wishes=wishes)
    except InvalidRequest as error:
        return Came(fault="; ".join(f"{one.message}; {one.remedy}" for one in error.faults[:_REASONS]))
    return Came(done.queued, done.deleting, done.refused)


def _retries(now: int, later: int) -> Iterator[str]:
    if now:
        yield f"{counted(now, 'job waits', 'jobs wait')} for a new attempt."
    if later:
        yield f"{counted(later, 'instance is', 'instances are')} deleted first, then follows a new attempt."


RETRY: Final = Verb(
    name="retry",
    title="Retry jobs?",
    states=(State.FAILED,),
    question=lambda jobs: (
        f"Give {jobs} a new attempt? Each that comes up is bought anew; an instance that a failed "
        "attempt still owns is deleted first."
    ),
    none="None of these jobs has failed: only a failed one can be retried.",
    not_now="None of these jobs can be retried as they are.",
    kind="main",
    act=_retry,
    said=_retries,
)
