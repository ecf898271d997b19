"""The law of a job's life: one table of states, events and where each event leads.

Rule 1: whatever decides which state follows which lives in this file, and nowhere else.
Rule 2: this file knows no database, no clock and no API. It is asked, it answers.
Rule 3: an event that does not fit raises :class:`IllegalTransition` and changes nothing.

The diagram in ``docs/reference/states.md`` is generated from :data:`TRANSITIONS`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a job stands. Each member says who moves the job on, and when."""

    SUBMITTED = "submitted"
    """Accepted, not yet validated (it came by Celery before the first catalog). The catalog refresh moves it."""
    REJECTED = "rejected"
    """Its request was wrong; nothing was sent for it. It stays."""
    QUEUED = "queued"
    """Waits for the rate window. Admission moves it."""
    DISPATCHED = "dispatched"
    """Has a grant and a wake-up under way. A worker moves it; the sweeper does when the wake-up was lost."""
    CREATING = "creating"
    """Its intent is committed, a create may be under way. The worker that owns the lease moves it, else the sweeper."""
    UNCERTAIN = "uncertain"
    """A create may or may not have been applied. The look-up moves it, or a person by ``resolve``."""
    BOOTING = "booting"
    """Owns an instance that is not up yet. The watch moves it."""
    RUNNING = "running"
    """Owns an instance that was seen up. Reconcile or a delete moves it."""
    FAILED = "failed"
    """Ended with a reason; may still own an instance. A retry or a delete moves it."""
    CANCELLED = "cancelled"
    """Ended before anything was bought. It stays."""
    DELETING = "deleting"
    """Its instance is being deleted. The delete chore moves it once the API answers 404."""
    DELETED = "deleted"
    """Its instance is gone, seen as 404. It stays."""


class Event(StrEnum):
    """What can happen to a job. The timeline in ``job_events`` is written in these words."""

    SUBMITTED = "submitted"
    """The first line of a job that waits for a catalog. It leads nowhere."""
    VALIDATED = "validated"
    INVALID = "invalid"
    TURNED_INVALID = "turned_invalid"
    TAKEN_OVER = "taken_over"
    ADMITTED = "admitted"
    GIVEN_BACK = "given_back"
    SENT = "sent"
    CREATED = "created"
    CREATED_UNWANTED = "created_unwanted"
    REFUSED = "refused"
    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    ACCOUNT_PAUSED = "account_paused"
    UNKNOWN = "unknown"
    LAPSED = "lapsed"
    INCONCLUSIVE = "inconclusive"
    LOOKED = "looked"
    PARKED = "parked"
    ADOPTED = "adopted"
    ADOPTED_UNWANTED = "adopted_unwanted"
    ABSENT = "absent"
    ABSENT_CANCELLED = "absent_cancelled"
    ABSENT_FAILED = "absent_failed"
    LABEL_TAKEN = "label_taken"
    SEEN_RUNNING = "seen_running"
    BOOT_TIMED_OUT = "boot_timed_out"
    VANISHED = "vanished"
    CANCELLED = "cancelled"
    CANCEL_NOTED = "cancel_noted"
    ERASED = "erased"
    ENDING_NOTED = "ending_noted"
    DELETE_POSTPONED = "delete_postponed"
    GONE = "gone"
    GONE_RETRIED = "gone_retried"
    RETRIED = "retried"
    RETRY_NOTED = "retry_noted"
    FELL_BACK = "fell_back"
    STOPPED = "stopped"
    DEADLINE_PASSED = "deadline_passed"
    DESTROYED = "destroyed"
    TTL_OVER = "ttl_over"
    FOUND = "found"
    ORPHAN_DELETED = "orphan_deleted"
    """An instance of an ended attempt was found and removed. It leads nowhere."""


@dataclass(frozen=True)
class Transition:
    """One row of the law: in ``source``, ``event`` leads to ``target``, because of ``why``."""

    source: State
    event: Event
    target: State
    why: str


def _rows(event: Event, sources: tuple[State, ...], target: State | None, why: str) -> list[Transition]:
    return [Transition(source, event, target or source, why) for source in sources]


_S = State
_E = Event

TRANSITIONS: Final[tuple[Transition, ...]] = (
    *_rows(_E.VALIDATED, (_S.SUBMITTED,), _S.QUEUED, "the catalogs allow it"),
    *_rows(_E.INVALID, (_S.SUBMITTED,), _S.REJECTED, "the catalogs do not allow it"),
    *_rows(_E.TURNED_INVALID, (_S.DISPATCHED,), _S.FAILED, "a newer catalog no longer allows it"),
    *_rows(_E.TAKEN_OVER, (_S.QUEUED,), None, "another account of its tenant has room; nothing was sent yet"),
    *_rows(_E.ADMITTED, (_S.QUEUED,), _S.DISPATCHED, "the rate window has room"),
    *_rows(_E.GIVEN_BACK, (_S.DISPATCHED,), _S.QUEUED, "the grant came too late or the wake-up was lost"),
    *_rows(_E.SENT, (_S.DISPATCHED,), _S.CREATING, "the intent is committed, the create is about to be sent"),
    *_rows(_E.CREATED, (_S.CREATING,), _S.BOOTING, "the API answered 200"),
    *_rows(_E.CREATED_UNWANTED, (_S.CREATING,), _S.DELETING, "the API answered 200 after a cancel"),
    *_rows(_E.REFUSED, (_S.CREATING,), _S.FAILED, "a definite no, and nothing unknown"),
    *_rows(_E.THROTTLED, (_S.CREATING,), _S.QUEUED, "429: no attempt spent"),
    *_rows(_E.NOT_SENT, (_S.CREATING,), _S.QUEUED, "it never left this machine: no attempt spent"),
    *_rows(
        _E.ACCOUNT_PAUSED, (_S.CREATING,), _S.QUEUED, "the account takes no creates now: no attempt spent"
    ),
    *_rows(_E.UNKNOWN, (_S.CREATING,), _S.UNCERTAIN, "the create may have been applied"),
    *_rows(_E.LAPSED, (_S.CREATING,), _S.UNCERTAIN, "the worker's lease ran out in mid-create"),
    *_rows(
        _E.INCONCLUSIVE, (_S.CREATING,), _S.UNCERTAIN, "an answer that follows an unknown send ends nothing"
    ),
    *_rows(_E.LOOKED, (_S.UNCERTAIN,), None, "not found, and the grace period is not over"),
    *_rows(_E.PARKED, (_S.UNCERTAIN,), None, "too many tries: a person decides"),
    *_rows(_E.ADOPTED, (_S.UNCERTAIN,), _S.BOOTING, "found with this attempt's tag"),
    *_rows(_E.ADOPTED_UNWANTED, (_S.UNCERTAIN,), _S.DELETING, "found after a cancel was noted"),
    *_rows(_E.ABSENT, (_S.UNCERTAIN,), _S.QUEUED, "absent for the whole grace period"),
    *_rows(_E.ABSENT_CANCELLED, (_S.UNCERTAIN,), _S.CANCELLED, "absent, and a cancel was noted"),
    *_rows(_E.ABSENT_FAILED, (_S.UNCERTAIN,), _S.FAILED, "absent, and an end was noted"),
    *_rows(_E.LABEL_TAKEN, (_S.UNCERTAIN,), _S.FAILED, "the label belongs to a machine that is not ours"),
    *_rows(_E.SEEN_RUNNING, (_S.BOOTING,), _S.RUNNING, "seen running, or offline where that was asked for"),
    *_rows(_E.BOOT_TIMED_OUT, (_S.BOOTING,), _S.FAILED, "not up within the boot timeout"),
    *_rows(_E.VANISHED, (_S.BOOTING, _S.RUNNING), _S.FAILED, "GET by id answered 404"),
    *_rows(
        _E.CANCELLED,
        (_S.SUBMITTED, _S.QUEUED, _S.DISPATCHED, _S.CREATING),
        _S.CANCELLED,
        "cancelled with nothing bought and nothing unknown",
    ),
    *_rows(_E.CANCEL_NOTED, (_S.CREATING, _S.UNCERTAIN), None, "a cancel waits for the create's outcome"),
    *_rows(
        _E.CANCEL_NOTED,
        (_S.QUEUED, _S.DISPATCHED),
        _S.UNCERTAIN,
        "a cancel after an unknown send looks first",
    ),
    *_rows(_E.ERASED, (_S.DISPATCHED,), _S.FAILED, "its secrets cannot be had any more"),
    *_rows(
        _E.STOPPED, (_S.SUBMITTED, _S.QUEUED, _S.DISPATCHED), _S.FAILED, "its fleet failed too often to go on"
    ),
    *_rows(
        _E.DEADLINE_PASSED,
        (_S.SUBMITTED, _S.QUEUED, _S.DISPATCHED),
        _S.FAILED,
        "its deadline passed with nothing bought and nothing unknown",
    ),
    *_rows(
        _E.ENDING_NOTED,
        (_S.QUEUED, _S.DISPATCHED),
        _S.UNCERTAIN,
        "an end after an unknown send looks first",
    ),
    *_rows(_E.ENDING_NOTED, (_S.UNCERTAIN,), None, "an end waits for the create's outcome"),
    *_rows(
        _E.FELL_BACK,
        (_S.DISPATCHED, _S.CREATING),
        _S.QUEUED,
        "a definite no, and the request names what to take instead: a new attempt",
    ),
    *_rows(_E.FELL_BACK, (_S.UNCERTAIN,), _S.QUEUED, "a no after an unknown send, and absent ever since"),
    *_rows(
        _E.RETRIED, (_S.FAILED,), _S.QUEUED, "a person asks for a new attempt, and the last one is closed"
    ),
    *_rows(_E.RETRY_NOTED, (_S.FAILED,), _S.DELETING, "a retry deletes the failed instance first"),
    *_rows(_E.GONE_RETRIED, (_S.DELETING,), _S.QUEUED, "404 seen, and a retry was asked for: a new attempt"),
    *_rows(
        _E.DESTROYED,
        (_S.BOOTING, _S.RUNNING, _S.FAILED, _S.DELETING),
        _S.DELETING,
        "a person asks for its instance to be deleted",
    ),
    *_rows(_E.TTL_OVER, (_S.BOOTING, _S.RUNNING, _S.FAILED), _S.DELETING, "its time to live is over"),
    *_rows(_E.DELETE_POSTPONED, (_S.DELETING,), None, "the delete was refused or its outcome is unknown"),
    *_rows(_E.GONE, (_S.DELETING,), _S.DELETED, "GET by id answered 404"),
    *_rows(_E.FOUND, (_S.QUEUED, _S.DISPATCHED), _S.UNCERTAIN, "reconcile saw this attempt's tag at the API"),
)

_TABLE: Final = {(row.source, row.event): row.target for row in TRANSITIONS}

WAITING: Final = frozenset({_S.SUBMITTED, _S.QUEUED, _S.DISPATCHED})
"""Nothing of the present attempt is under way."""
PENDING: Final = WAITING | {_S.CREATING, _S.UNCERTAIN, _S.BOOTING}
"""Not yet settled: a fleet with one of these is still at work."""
SETTLED: Final = frozenset(_S) - PENDING - {_S.DELETING}
"""Nobody but a person moves it on."""
HOLDING: Final = frozenset(_S) - {_S.REJECTED, _S.CANCELLED, _S.FAILED, _S.DELETED}
"""May cost money now or soon: it counts against the guards (and so does ``failed`` with an instance)."""


class IllegalTransition(Exception):  # noqa: N818 - it names what was tried, as h11's LocalProtocolError does not
    """The event does not fit the state; nothing was changed."""

    def __init__(self, state: State, event: Event) -> None:
        self.state = state
        self.event = event
        super().__init__(f"a job that is {state} cannot be {event}")


def after(state: State, event: Event) -> State:
    """Return the state that ``event`` leads to from ``state``.

    Raises:
        IllegalTransition: the law has no such row.

    """
    try:
        return _TABLE[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None


def sources(event: Event) -> frozenset[State]:
    """Return the states in which ``event`` may happen."""
    return frozenset(row.source for row in TRANSITIONS if row.event is event)


def mermaid() -> str:
    """Return the law as a Mermaid state diagram, for the documentation."""
    edges: dict[tuple[State, State], list[str]] = {}
    for row in TRANSITIONS:
        edges.setdefault((row.source, row.target), []).append(row.event.value)
    lines = ["stateDiagram-v2", "    [*] --> submitted", "    [*] --> queued", "    [*] --> rejected"]
    lines += [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in edges.items()]
    lines += [f"    {state} --> [*]" for state in (_S.REJECTED, _S.CANCELLED, _S.DELETED)]
    return "\n".join(lines)
