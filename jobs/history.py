"""How a fleet's jobs went through their states, from the moments that their rows keep. Pure.

The rows say what each job's present attempt did: the time before it, with all attempts that were given up, counts as
waiting. The last point is how the jobs stand.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from math import ceil
from typing import Final

from jobs.states import PENDING, State


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
    """The moments of one job, as seconds since the epoch; None: it did not come to that."""

    state: State
    submitted: float
    dispatched: float | None
    sent: float | None
    created: float | None
    running: float | None
    ended: float | None
    changed: float
    never_sent: bool = False
    """It ended while it waited, whatever was sent before."""


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


_NOTHING: Final = History(())


def history(traces: Sequence[Trace], *, now: float, points: int, scale: float = 1.0) -> History:
    """Return the history from the first submit until now, or until the last change where no job is at work."""
    if not traces:
        return _NOTHING
    start = min(trace.submitted for trace in traces)
    busy = any(trace.state in PENDING or trace.state is State.DELETING for trace in traces)
    end = max(now if busy else max(trace.changed for trace in traces), start)
    changes = _changes(traces, start, end, points)
    step = (end - start) / max(points - 1, 1)
    found, present = [], [0] * len(Phase)
    for number, change in enumerate(changes):
        present = [count + by for count, by in zip(present, change, strict=True)]
        at = datetime.fromtimestamp(start + number * step, UTC)
        found.append(Moment(at, *(round(count * scale) for count in present)))
    return History(tuple(found), sampled=scale > 1)


def _changes(traces: Sequence[Trace], start: float, end: float, points: int) -> list[list[int]]:
    """Return by how much each phase's count differs at each point from the point before."""
    changes = [[0] * len(Phase) for _ in range(points)]
    per_second = (points - 1) / (end - start) if end > start else 0.0
    for trace in traces:
        before: Phase | None = None
        number = 0
        for at, phase in _path(trace):
            # The first point at which it is so; rounded, so that a moment on a point belongs to it.
            number = min(max(ceil(round((at - start) * per_second, 6)), number), points - 1)
            changes[number][phase] += 1
            if before is not None:
                changes[number][before] -= 1
            before = phase
    return changes


def _path(trace: Trace) -> Iterator[tuple[float, Phase]]:
    """Yield since when the job was doing what, in order."""
    yield trace.submitted, Phase.WAITING
    if trace.state in {State.SUBMITTED, State.QUEUED}:
        return
    if trace.state is State.DISPATCHED:
        yield trace.dispatched or trace.changed, Phase.CREATING
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


def _end(trace: Trace) -> Iterator[tuple[float, Phase]]:
    if trace.state in {State.FAILED, State.REJECTED}:
        yield trace.ended or trace.changed, Phase.FAILED
    elif trace.state in {State.CANCELLED, State.DELETING, State.DELETED}:
        yield trace.ended or trace.changed, Phase.ENDED
