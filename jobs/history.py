"""How a fleet's jobs went through their states, from the moments that their rows keep. Pure.

The rows say what each job's present attempt did: the time before it, with all attempts that were given up, counts as
waiting. The last point is how the jobs stand.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from jobs.states import State


class Phase(IntEnum):
    """What a job is doing, as people ask for it."""

    WAITING = 0
    CREATING = 1
    BOOTING = 2
    RUNNING = 3
    FAILED = 4
    ENDED = 5


@dataclass(frozen=True, slots=True)
class Trace:
    """What jobs went through alike: at which point of the history it was so first; None: it did not come to that."""

    count: int
    state: State
    never_sent: bool
    """They ended while they waited, whatever was sent before."""
    submitted: int
    dispatched: int | None
    sent: int | None
    created: int | None
    running: int | None
    ended: int | None
    changed: int


@dataclass(frozen=True)
class Moment:
    """How many jobs were doing what at a moment."""

    at: datetime
    waiting: int
    creating: int
    """Granted, being created, or looked up."""
    booting: int
    running: int
    failed: int
    """Failed or rejected."""
    ended: int
    """Cancelled, being deleted, or deleted."""

    @property
    def total(self) -> int:
        """How many jobs there were."""
        return self.waiting + self.creating + self.booting + self.running + self.failed + self.ended


@dataclass(frozen=True)
class History:
    """How a fleet's jobs went through their states, in equal steps; of no jobs there are no points."""

    points: tuple[Moment, ...]
    sampled: bool = False
    """Whether only a part of the jobs was looked at, evenly spread, and the counts are scaled up from it."""


def history(
    traces: Iterable[Trace], *, start: datetime, end: datetime, points: int, scale: float = 1.0
) -> History:
    """Return the history from ``start`` to ``end``. ``scale``: how many jobs each of the traces' jobs stands for."""
    step = (end - start) / max(points - 1, 1)
    found, present = [], [0] * len(Phase)
    for number, change in enumerate(_changes(traces, points)):
        present = [count + by for count, by in zip(present, change, strict=True)]
        found.append(Moment(start + number * step, *(round(count * scale) for count in present)))
    return History(tuple(found), sampled=scale > 1)


def _changes(traces: Iterable[Trace], points: int) -> list[list[int]]:
    """Return by how much each phase's count differs at each point from the point before."""
    changes = [[0] * len(Phase) for _ in range(points)]
    for trace in traces:
        before: Phase | None = None
        point = 0
        for at, phase in _path(trace):
            point = min(max(at, point), points - 1)
            changes[point][phase] += trace.count
            if before is not None:
                changes[point][before] -= trace.count
            before = phase
    return changes


def _path(trace: Trace) -> Iterator[tuple[int, Phase]]:
    """Yield since when the jobs were doing what, in order."""
    yield trace.submitted, Phase.WAITING
    if trace.state in {State.SUBMITTED, State.QUEUED}:
        return
    if trace.state is State.DISPATCHED:
        yield _either(trace.dispatched, trace.changed), Phase.CREATING
        return
    if trace.sent is not None and not trace.never_sent:
        yield trace.sent, Phase.CREATING
    elif trace.state in {State.CREATING, State.UNCERTAIN}:
        yield trace.changed, Phase.CREATING
    if trace.created is not None:
        yield trace.created, Phase.BOOTING
    if trace.running is not None:
        yield trace.running, Phase.RUNNING
    yield from _end(trace)


def _end(trace: Trace) -> Iterator[tuple[int, Phase]]:
    if trace.state in {State.FAILED, State.REJECTED}:
        yield _either(trace.ended, trace.changed), Phase.FAILED
    elif trace.state in {State.CANCELLED, State.DELETING, State.DELETED}:
        yield _either(trace.ended, trace.changed), Phase.ENDED


def _either(point: int | None, otherwise: int) -> int:
    return otherwise if point is None else point
