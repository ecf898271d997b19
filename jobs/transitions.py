"""Every way in which a job's row moves: named transitions, each listing the only columns that it writes.

A transition is a guarded UPDATE: it takes effect only while the row still has the state and the version that the
caller read. ``None`` comes back when somebody else moved the row first; the caller reads again and decides again. Each
one that takes effect adds a line to the job's timeline, in the same transaction.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import ARRAY, ColumnElement, Update, any_, bindparam, insert, select, update

from jobs import chores, policy
from jobs.cost import cost_of
from jobs.database import Timed, Transaction
from jobs.policy import HAS_POLICY
from jobs.records import RECORD_COLUMNS, JobRecord, accounts, job_events, jobs, record
from jobs.states import Event, State, after

FALL_BACK_ON: Final = frozenset({"no_capacity", "account_limit", "unavailable", "region_lacks_capability"})
"""The codes of a definite no after which a request's next alternative is taken."""
RECONCILE_SOON = timedelta(seconds=30)
"""What came late is looked for this soon after an unknown create, and every so often for a while."""

Detail = dict[str, Any] | None
_UNSTORABLE: Final = re.compile("[\\x00\\ud800-\\udfff]")
_CHUNK: Final = 500
_TOKEN_OF: Final = select(jobs.c.token_id).where(jobs.c.id == bindparam("job", type_=jobs.c.id.type))


@dataclass(frozen=True)
class Reason:
    """Why a job ended or waits: a stable code, the API's own words, the field that they are about."""

    code: str
    reason: str
    field: str | None = None


@dataclass(frozen=True)
class InstanceFacts:
    """What the API said of the instance that a job owns."""

    linode_id: int
    ipv4: str | None = None
    ipv6: str | None = None
    type: str | None = None
    region: str | None = None
    hourly_microusd: int | None = None


class Fenced(Protocol):
    """Enough of a job's row to move it: which one, and as of which version."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def version(self) -> int:
        """The version that was read."""


def _storable(words: str | None) -> str | None:
    # The API's words may hold what no database takes: NUL, and half of a surrogate pair.
    return None if words is None else _UNSTORABLE.sub("\ufffd", words)


def _error(reason: Reason | None) -> dict[str, str | None]:
    if reason is None:
        return {"error_code": None, "error_reason": None, "error_field": None}
    return {
        "error_code": reason.code,
        "error_reason": _storable(reason.reason),
        "error_field": _storable(reason.field),
    }


def _explained(reason: Reason) -> dict[str, Any]:
    return {key: _storable(value) for key, value in vars(reason).items() if value is not None}


_LOAD: Final = select(*RECORD_COLUMNS).where(jobs.c.id == bindparam("which"))
_LOG: Final = insert(job_events)
_AMONG: Final = jobs.c.id.in_(bindparam("ids", expanding=True))
_HOLD: Final = Timed(select(jobs.c.id).where(_AMONG).with_for_update(skip_locked=True))
_LINE: Final = ("at", "event", "state", "actor")
_RECORDS: Final = tuple(column.name for column in RECORD_COLUMNS)
# The lines differ in nothing but the job: one statement costs less than sending the rows one by one.
_LOG_MANY: Final = insert(job_events).from_select(
    ["job_id", *_LINE],
    select(jobs.c.id, *(bindparam(name, type_=job_events.c[name].type) for name in _LINE)).where(_AMONG),
)


def load(tx: Transaction, job_id: str) -> JobRecord | None:
    """Return the job's record, or None where there is no such job."""
    row = tx.execute(_LOAD, {"which": job_id}).first()
    return None if row is None else record(row)


def token_of(tx: Transaction, job_id: str) -> str | None:
    """Return the token that a job's last grant is for; None where there is none, or no such job."""
    token: str | None = tx.execute(_TOKEN_OF, {"job": job_id}).scalar()
    return token


def log_event(
    tx: Transaction, job_id: str, event: Event, state: State, *, actor: str, detail: Detail = None
) -> dict[str, Any]:
    """Return a line of the timeline, ready for :data:`job_events`."""
    return {
        "job_id": job_id,
        "at": tx.now,
        "event": event.value,
        "state": state.value,
        "actor": actor,
        "detail": detail,
    }


def _move(
    tx: Transaction,
    job: JobRecord,
    event: Event,
    *,
    actor: str,
    detail: Detail = None,
    columns: dict[str, Any],
) -> JobRecord | None:
    step = _Step(job, event, columns, detail)
    written = _written(tx, step)
    changes = _as_read(job) | {f"to_{name}": value for name, value in written.items()}
    moved = _moved(step)
    fails = moved.state is State.FAILED
    row = tx.execute(_guarded(tuple(written), ask=fails), changes)
    found = row.first() if fails else row.rowcount
    if not found:
        return None
    tx.execute(_LOG, log_event(tx, job.id, event, moved.state, actor=actor, detail=detail))
    if fails and found[0] and event not in policy.OUR_OWN:
        policy.failed(tx, job.fleet_id, columns.get("error_code", job.error_code))
    return moved


class OvertakenError(Exception):
    """Of several jobs that were to move together one was moved by somebody else; none has moved."""


@dataclass(frozen=True)
class _Step:
    """One job's move, decided upon."""

    job: JobRecord
    event: Event
    columns: dict[str, Any]
    detail: Detail = None


def hold(tx: Transaction, ids: Sequence[str]) -> None:
    """Lock jobs that are to move together, without waiting for any.

    Raises:
        OvertakenError: somebody else holds one of them.

    """
    if tx.on_sqlite:
        return  # its one writer holds everything
    if len(tx.rows(_HOLD, {"ids": ids})) < len(ids):
        raise OvertakenError


def _move_each(tx: Transaction, steps: Sequence[_Step], *, actor: str) -> list[JobRecord | None]:
    """Move jobs, each with values of its own. Several move together or not at all (:class:`OvertakenError`)."""
    if len(steps) == 1:
        only = steps[0]
        return [_move(tx, only.job, only.event, actor=actor, detail=only.detail, columns=only.columns)]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for step in steps:
        written = _written(tx, step)
        as_read = _as_read(step.job) | {f"to_{name}": value for name, value in written.items()}
        groups.setdefault(tuple(written), []).append(as_read)
    for names, changes in groups.items():
        if tx.execute(_guarded(names), changes).rowcount != len(changes):
            raise OvertakenError
    lines = [
        log_event(
            tx, step.job.id, step.event, after(step.job.state, step.event), actor=actor, detail=step.detail
        )
        for step in steps
    ]
    tx.execute(_LOG, lines)
    return [_moved(step) for step in steps]


def _written(tx: Transaction, step: _Step) -> dict[str, Any]:
    target = after(step.job.state, step.event)
    return {**step.columns, "state": target.value, "version": step.job.version + 1, "changed_at": tx.now}


def _as_read(job: JobRecord) -> dict[str, Any]:
    return {"which": job.id, "was_state": job.state.value, "was_version": job.version}


def _moved(step: _Step) -> JobRecord:
    known = {name: value for name, value in step.columns.items() if name in JobRecord.__slots__}
    return replace(step.job, state=after(step.job.state, step.event), version=step.job.version + 1, **known)


@cache
def _guarded(names: tuple[str, ...], *, ask: bool = False) -> Any:  # noqa: ANN401 - an UPDATE, or one with RETURNING
    # Built once for each set of columns: building it costs more than running it.
    guard = (
        jobs.c.id == bindparam("which"),
        jobs.c.state == bindparam("was_state"),
        jobs.c.version == bindparam("was_version"),
    )
    values = {name: bindparam(f"to_{name}", type_=jobs.c[name].type) for name in names}
    one = update(jobs).where(*guard).values(values)
    # Whether a failing needs more than this one statement, only a fleet with a policy has to pay for.
    return one.returning(HAS_POLICY) if ask else one


def _move_many(
    tx: Transaction,
    found: Sequence[Fenced],
    source: State,
    event: Event,
    *,
    actor: str,
    columns: dict[str, Any],
) -> list[JobRecord]:
    rows = _rows_moved(tx, found, source, event, actor=actor, columns=columns, returned=_RECORDS)
    return [record(row) for row in rows]


def _rows_moved(
    tx: Transaction,
    found: Sequence[Fenced],
    source: State,
    event: Event,
    *,
    actor: str,
    columns: dict[str, Any],
    returned: tuple[str, ...],
) -> Iterator[Any]:
    """Move jobs that all take the same values; yield the columns ``returned``, the id first, of those that moved."""
    # One state for all, so that the law is asked once.
    target = after(source, event)
    written = {**columns, "state": target.value, "changed_at": tx.now}
    changes = {f"to_{name}": value for name, value in written.items()} | {"was_state": source.value}
    line = {"at": tx.now, "event": event.value, "state": target.value, "actor": actor}
    for version, ids in _by_version(found):
        which = {"ids": ids, "was_version": version}
        if tx.on_sqlite:
            moved = tx.execute(_guarded_many(tuple(written), returned), which | changes).all()
            tx.execute(_LOG_MANY, {"ids": [row[0] for row in moved], **line})
        else:
            moved = tx.execute(_guarded_and_logged(tuple(written), returned), which | changes | line).all()
        yield from moved


@cache
def _guarded_many(names: tuple[str, ...], returned: tuple[str, ...]) -> Any:  # noqa: ANN401 - an UPDATE with RETURNING
    return _changed(_AMONG, names).returning(*(jobs.c[name] for name in returned))


@cache
def _guarded_and_logged(names: tuple[str, ...], returned: tuple[str, ...]) -> Any:  # noqa: ANN401 - a SELECT of what it wrote
    """Return the change and its lines as one statement: a round trip less. SQLite knows no such thing."""
    among = jobs.c.id == any_(bindparam("ids", type_=ARRAY(jobs.c.id.type)))
    moved = _changed(among, names).returning(*(jobs.c[name] for name in returned)).cte("moved")
    lines = select(moved.c.id, *(bindparam(name, type_=job_events.c[name].type) for name in _LINE))
    logged = insert(job_events).from_select(["job_id", *_LINE], lines).cte("logged")
    return select(moved).add_cte(logged)


def _changed(among: ColumnElement[bool], names: tuple[str, ...]) -> Update:
    guard = (jobs.c.state == bindparam("was_state"), jobs.c.version == bindparam("was_version"))
    values = {name: bindparam(f"to_{name}", type_=jobs.c[name].type) for name in names}
    return update(jobs).where(among, *guard).values({**values, "version": jobs.c.version + 1})


def _by_version(found: Sequence[Fenced]) -> Iterator[tuple[int, list[str]]]:
    """Yield the ids of each version, in chunks: of many rows most have the same one."""
    groups: dict[int, list[str]] = {}
    for job in found:
        groups.setdefault(job.version, []).append(job.id)
    for version, ids in groups.items():
        for start in range(0, len(ids), _CHUNK):
            yield version, ids[start : start + _CHUNK]


# Before the create ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Present:
    """What a job asks for now: which of its request's alternatives, and what one costs an hour."""

    choice: int
    type: str
    region: str
    hourly_microusd: int


def validated(
    tx: Transaction, job: JobRecord, present: Present, *, dearest_microusd: int, actor: str
) -> JobRecord | None:
    """Queue a job that waited for a catalog and fits it, at the price that the catalog says."""
    columns = {**vars(present), "reserved_microusd": dearest_microusd}
    return _move(tx, job, Event.VALIDATED, actor=actor, columns=columns)


def invalid(tx: Transaction, job: JobRecord, reason: Reason, *, actor: str) -> JobRecord | None:
    """Reject a job that waited for a catalog and does not fit it."""
    columns = {**_error(reason), "ended_at": tx.now}
    return _move(tx, job, Event.INVALID, actor=actor, detail=_explained(reason), columns=columns)


def ended_waiting(
    tx: Transaction, job: JobRecord, event: Event, reason: Reason, *, actor: str
) -> JobRecord | None:
    """End a waiting job as failed: it turned invalid, its secrets were erased, it was stopped, its deadline passed.

    Where an earlier send is unknown the end is only noted, and the job is looked up first.
    """
    if job.last_unknown_at is not None:
        columns = {**_error(reason), "ending": "fail", "run_after": tx.now, "lease_until": None}
        noted = _explained(reason)
        return _move(tx, job, Event.ENDING_NOTED, actor=actor, detail=noted, columns=columns)
    columns = _ended_waiting(tx, reason)
    return _move(tx, job, event, actor=actor, detail=_explained(reason), columns=columns)


def all_ended_waiting(
    tx: Transaction, found: Sequence[JobRecord], event: Event, reason: Reason, *, actor: str
) -> list[JobRecord]:
    """End many waiting jobs as failed, for which nothing is unknown."""
    groups: dict[State, list[JobRecord]] = {}
    for job in found:
        groups.setdefault(job.state, []).append(job)
    columns = _ended_waiting(tx, reason)
    return [
        moved
        for state, group in groups.items()
        for moved in _move_many(tx, group, state, event, actor=actor, columns=columns)
    ]


def _ended_waiting(tx: Transaction, reason: Reason) -> dict[str, Any]:
    return {**_error(reason), "ended_at": tx.now, "run_after": None, "lease_until": None}


def taken_over(
    tx: Transaction, records: Sequence[JobRecord], *, actor: str, account_id: str
) -> list[JobRecord]:
    """Give queued jobs to another account. Only where nothing was ever sent for them."""
    columns = {"account_id": account_id}
    return _move_many(tx, records, State.QUEUED, Event.TAKEN_OVER, actor=actor, columns=columns)


def admitted(
    tx: Transaction,
    found: Sequence[Fenced],
    *,
    actor: str,
    token_id: str,
    generation: int,
    send_before: datetime,
    lease_until: datetime,
) -> list[str]:
    """Grant the window to queued jobs; return their ids, because nobody needs more of them before their creates."""
    columns = {
        "dispatched_at": tx.now,
        "send_before": send_before,
        "lease_until": lease_until,
        "token_id": token_id,
        "window_generation": generation,
        "run_after": None,
    }
    rows = _rows_moved(
        tx, found, State.QUEUED, Event.ADMITTED, actor=actor, columns=columns, returned=("id",)
    )
    return [row.id for row in rows]


def given_back(tx: Transaction, job: JobRecord, why: str, *, actor: str) -> JobRecord | None:
    """Queue a job again whose grant came too late or whose wake-up was lost. No attempt is spent."""
    columns = {"send_before": None, "lease_until": None}
    return _move(tx, job, Event.GIVEN_BACK, actor=actor, detail={"why": why}, columns=columns)


def all_given_back(
    tx: Transaction, found: Sequence[JobRecord], why: str, *, actor: str
) -> list[JobRecord | None]:
    """Queue jobs again, which the caller has locked, and whose grants are not to be used."""
    columns = {"send_before": None, "lease_until": None}
    steps = [_Step(job, Event.GIVEN_BACK, columns, {"why": why}) for job in found]
    return _move_each(tx, steps, actor=actor) if steps else []


def sent(tx: Transaction, job: JobRecord, *, actor: str, lease: timedelta) -> JobRecord | None:
    """Commit the intent to create: from here on the API may have been reached."""
    return all_sent(tx, [job], actor=actor, lease=lease)[0]


def all_sent(
    tx: Transaction, found: Sequence[JobRecord], *, actor: str, lease: timedelta
) -> list[JobRecord | None]:
    """Commit the intents of several creates, which the caller has locked. Raises OvertakenError."""
    lasts = {"sent_at": tx.now, "lease_until": tx.now + lease, "send_before": None}
    steps = [
        _Step(
            job,
            Event.SENT,
            {**lasts, "sends": job.sends + 1},
            {"attempt": job.attempt, "send": job.sends + 1},
        )
        for job in found
    ]
    return _move_each(tx, steps, actor=actor)


# What the create came to ---------------------------------------------------------------------------------------------


def _owned(tx: Transaction, job: JobRecord, facts: InstanceFacts) -> dict[str, Any]:
    price = job.hourly_microusd if facts.hourly_microusd is None else facts.hourly_microusd
    return {
        "linode_id": facts.linode_id,
        "ipv4": _storable(facts.ipv4),
        "ipv6": _storable(facts.ipv6),
        "got_type": _storable(facts.type),
        "got_region": _storable(facts.region),
        "hourly_microusd": price,
        "created_at": tx.now,
        "expires_at": None if job.ttl_seconds is None else tx.now + timedelta(seconds=job.ttl_seconds),
        "lease_until": None,
        "last_unknown_at": None,
        "parked_at": None,
        "run_after": None,
    }


def owned(
    tx: Transaction, job: JobRecord, facts: InstanceFacts, *, actor: str, proof: str
) -> JobRecord | None:
    """Record the instance that is this attempt's: by our own 200, or adopted by its tag.

    Where a cancel was noted the instance goes at once. Any other end that was noted is void: there it is.
    """
    return all_owned(tx, [(job, facts)], actor=actor, proof=proof)[0]


def all_owned(
    tx: Transaction, found: Sequence[tuple[JobRecord, InstanceFacts]], *, actor: str, proof: str
) -> list[JobRecord | None]:
    """Record the instances of several jobs, which the caller has locked, as :func:`owned` does.

    Raises:
        OvertakenError: one of several jobs was moved by somebody else.

    """
    return _move_each(tx, [_owning(tx, job, facts, proof) for job, facts in found], actor=actor)


def _owning(tx: Transaction, job: JobRecord, facts: InstanceFacts, proof: str) -> _Step:
    unwanted = job.ending == "cancel"
    if job.state is State.CREATING:
        event = Event.CREATED_UNWANTED if unwanted else Event.CREATED
    else:
        event = Event.ADOPTED_UNWANTED if unwanted else Event.ADOPTED
    columns = _owned(tx, job, facts)
    if unwanted:
        columns["run_after"] = tx.now
    else:
        columns |= {**_error(None), "ending": None}
    return _Step(job, event, columns, {"linode_id": facts.linode_id, "proof": proof})


def refused(tx: Transaction, job: JobRecord, reason: Reason, *, actor: str) -> JobRecord | None:
    """End a job on a definite no. Only where nothing is unknown."""
    columns = {**_error(reason), "lease_until": None, "ended_at": tx.now}
    return _move(tx, job, Event.REFUSED, actor=actor, detail=_explained(reason), columns=columns)


def requeued(
    tx: Transaction,
    job: JobRecord,
    event: Event,
    reason: Reason | None,
    *,
    actor: str,
    run_after: datetime | None,
) -> JobRecord | None:
    """Queue a job again after a 429, an unsent create or a paused account. No attempt is spent."""
    columns = {**_error(reason), "lease_until": None, "run_after": run_after}
    detail = None if reason is None else _explained(reason)
    return _move(tx, job, event, actor=actor, detail=detail, columns=columns)


def unknown(
    tx: Transaction, job: JobRecord, event: Event, reason: Reason, *, actor: str, run_after: datetime
) -> JobRecord | None:
    """Record that the create may have been applied (``unknown``, ``lapsed``): only a look-up goes on from here."""
    columns = {
        **_error(reason),
        "last_unknown_at": tx.now,
        "tries": job.tries + 1,
        "looks": 0,
        "lease_until": None,
        "run_after": run_after,
    }
    moved = _move(tx, job, event, actor=actor, detail=_explained(reason), columns=columns)
    if moved is not None:
        tx.execute(update(accounts).where(accounts.c.id == job.account_id).values(unknown_at=tx.now))
        chores.hasten(tx, f"reconcile:{job.account_id}", tx.now + RECONCILE_SOON)
    return moved


def inconclusive(
    tx: Transaction, job: JobRecord, reason: Reason, *, actor: str, ending: str | None, run_after: datetime
) -> JobRecord | None:
    """Record an answer that ends nothing, because an earlier send is unknown or the label is in use."""
    columns = {
        **_error(reason),
        "last_unknown_at": job.last_unknown_at or tx.now,
        "ending": job.ending or ending,
        "lease_until": None,
        "run_after": run_after,
    }
    return _move(tx, job, Event.INCONCLUSIVE, actor=actor, detail=_explained(reason), columns=columns)


# While uncertain -----------------------------------------------------------------------------------------------------


def looked(
    tx: Transaction, job: JobRecord, what: str, *, actor: str, run_after: datetime
) -> JobRecord | None:
    """Note a look-up that settled nothing."""
    columns = {"looks": job.looks + 1, "run_after": run_after}
    return _move(tx, job, Event.LOOKED, actor=actor, detail={"saw": what}, columns=columns)


def parked(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Give up on finding out by ourselves: a person resolves it; reconcile still may."""
    columns = {"parked_at": tx.now, "run_after": None}
    return _move(tx, job, Event.PARKED, actor=actor, detail={"tries": job.tries}, columns=columns)


def absent(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Settle a job that is absent for the whole grace period: end it as noted, or send again."""
    settled: dict[str, Any] = {"run_after": None, "parked_at": None}
    ended = {**settled, "ended_at": tx.now, "last_unknown_at": None}
    if job.ending == "cancel":
        return _move(tx, job, Event.ABSENT_CANCELLED, actor=actor, columns=ended)
    if job.ending == "fail":
        # The event says itself why: by the time somebody reads it, the row may have gone on.
        noted = {"code": job.error_code, "reason": job.error_reason, "field": job.error_field}
        why = {key: value for key, value in noted.items() if value is not None}
        return _move(tx, job, Event.ABSENT_FAILED, actor=actor, detail=why, columns=ended)
    # A person who settles a parked job gives it a fresh number of tries.
    tries = 0 if job.parked_at is not None else job.tries
    return _move(tx, job, Event.ABSENT, actor=actor, columns={**settled, "tries": tries})


def label_taken(tx: Transaction, job: JobRecord, reason: Reason, *, actor: str) -> JobRecord | None:
    """End a job whose label belongs to a machine that is not ours; it is left alone."""
    settled = {"last_unknown_at": None, "run_after": None, "parked_at": None}
    columns = {**_error(reason), **settled, "ended_at": tx.now}
    return _move(tx, job, Event.LABEL_TAKEN, actor=actor, detail=_explained(reason), columns=columns)


def found(tx: Transaction, job: JobRecord, *, actor: str, account_id: str) -> JobRecord | None:
    """Send a waiting job to the look-up, because the account has an instance with its tag (a failed-over database)."""
    columns = {
        "account_id": account_id,
        "last_unknown_at": tx.now,
        "lease_until": None,
        "run_after": tx.now,
    }
    return _move(tx, job, Event.FOUND, actor=actor, columns=columns)


# With an instance ----------------------------------------------------------------------------------------------------


def seen_running(tx: Transaction, found: Sequence[Fenced], *, actor: str) -> list[JobRecord]:
    """Record that instances are up."""
    columns = {"running_at": tx.now, "run_after": None}
    return _move_many(tx, found, State.BOOTING, Event.SEEN_RUNNING, actor=actor, columns=columns)


def lost(tx: Transaction, job: JobRecord, event: Event, reason: Reason, *, actor: str) -> JobRecord | None:
    """End a job whose instance did not come up in time or is gone (``boot_timed_out``, ``vanished``)."""
    columns: dict[str, Any] = {**_error(reason), "ended_at": tx.now, "run_after": None}
    if event is Event.VANISHED:
        columns |= {"linode_id": None, "expires_at": None, **_paid(tx, job, failed=True)}
    detail = {**_explained(reason), "linode_id": job.linode_id}
    return _move(tx, job, event, actor=actor, detail=detail, columns=columns)


# Cancel and delete ---------------------------------------------------------------------------------------------------


def cancelled(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Cancel a job for which nothing was bought and nothing is unknown."""
    return _move(tx, job, Event.CANCELLED, actor=actor, columns=_cancelled(tx))


def all_cancelled(tx: Transaction, found: Sequence[JobRecord], *, actor: str) -> list[JobRecord]:
    """Cancel many jobs for which nothing was bought and nothing is unknown."""
    groups: dict[State, list[JobRecord]] = {}
    for job in found:
        groups.setdefault(job.state, []).append(job)
    return [
        moved
        for state, group in groups.items()
        for moved in _move_many(tx, group, state, Event.CANCELLED, actor=actor, columns=_cancelled(tx))
    ]


def _cancelled(tx: Transaction) -> dict[str, Any]:
    return {"ending": "cancel", "ended_at": tx.now, "run_after": None, "lease_until": None}


def cancel_noted(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Note a cancel that waits for the create's outcome."""
    columns: dict[str, Any] = {"ending": "cancel"}
    if job.state is not State.CREATING:
        columns |= {"run_after": tx.now, "lease_until": None}
    return _move(tx, job, Event.CANCEL_NOTED, actor=actor, columns=columns)


def delete_postponed(
    tx: Transaction, job: JobRecord, reason: Reason | None, *, actor: str, run_after: datetime
) -> JobRecord | None:
    """Look again later: the delete was taken (no reason), refused, or its outcome is unknown."""
    looks = 0 if reason is None else job.looks + 1
    columns = {**_error(reason), "looks": looks, "run_after": run_after}
    detail = None if reason is None else _explained(reason)
    return _move(tx, job, Event.DELETE_POSTPONED, actor=actor, detail=detail, columns=columns)


def orphan_deleted(tx: Transaction, job: JobRecord, linode_id: int, *, actor: str, tag: str) -> None:
    """Note on the job's timeline that an instance of one of its ended attempts was removed."""
    detail = {"linode_id": linode_id, "tag": tag}
    tx.execute(
        insert(job_events), log_event(tx, job.id, Event.ORPHAN_DELETED, job.state, actor=actor, detail=detail)
    )


def gone(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Record that the API answered 404 for the job's instance; where a retry was asked for, the job waits again."""
    detail = {"linode_id": job.linode_id}
    paid = _paid(tx, job, failed=False)
    if job.afterwards == "retry":
        columns = {**_anew(job), **paid}
        return _move(tx, job, Event.GONE_RETRIED, actor=actor, detail=detail, columns=columns)
    columns = {"ended_at": tx.now, "run_after": None, **paid}
    return _move(tx, job, Event.GONE, actor=actor, detail=detail, columns=columns)


def _paid(tx: Transaction, job: JobRecord, *, failed: bool) -> dict[str, int]:
    """Return the columns that say what a closed instance has cost. One that failed is a waste (see `_wasted`)."""
    if job.created_at is None or job.linode_id is None:
        return {}
    cost = cost_of(job.hourly_microusd, job.created_at, tx.now)
    columns = {"spent_microusd": job.spent_microusd + cost}
    return columns | ({"wasted_microusd": job.wasted_microusd + cost} if failed else {})


def _wasted(tx: Transaction, job: JobRecord) -> dict[str, int]:
    """Return the column that says what was paid for an instance that failed, as it is given up.

    Not later, when it is gone: until then the job's error is replaced by that of its delete.
    """
    if job.state is not State.FAILED or job.created_at is None or job.linode_id is None:
        return {}
    return {"wasted_microusd": job.wasted_microusd + cost_of(job.hourly_microusd, job.created_at, tx.now)}


# Destroy, time to live, retry, fallback ------------------------------------------------------------------------------


def destroyed(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Have a job's instance deleted, because a person asks for it. A retry that was noted is void."""
    return _doomed(tx, job, Event.DESTROYED, actor=actor)


def all_destroyed(tx: Transaction, found: Sequence[JobRecord], *, actor: str) -> list[JobRecord | None]:
    """Have the instances of jobs deleted, which the caller has locked. A retry that was noted is void."""
    steps = [
        _Step(job, Event.DESTROYED, _doomed_columns(tx, job), {"linode_id": job.linode_id}) for job in found
    ]
    return _move_each(tx, steps, actor=actor) if steps else []


def ttl_over(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Have a job's instance deleted, because its time to live is over."""
    return _doomed(tx, job, Event.TTL_OVER, actor=actor)


def _doomed(tx: Transaction, job: JobRecord, event: Event, *, actor: str) -> JobRecord | None:
    detail = {"linode_id": job.linode_id}
    return _move(tx, job, event, actor=actor, detail=detail, columns=_doomed_columns(tx, job))


def _doomed_columns(tx: Transaction, job: JobRecord) -> dict[str, Any]:
    return {"afterwards": None, "run_after": tx.now, "looks": 0, "ended_at": None, **_wasted(tx, job)}


def retried(tx: Transaction, job: JobRecord, *, actor: str) -> JobRecord | None:
    """Give a failed job a new attempt; where it still owns an instance, that is deleted first."""
    return all_retried(tx, [(job, {})], actor=actor)[0]


def all_retried(
    tx: Transaction, found: Sequence[tuple[JobRecord, dict[str, Any]]], *, actor: str
) -> list[JobRecord | None]:
    """Give failed jobs, which the caller has locked, a new attempt each, as :func:`retried` does.

    Each comes with what its next attempt begins with, where the guard has counted it again.

    Raises:
        OvertakenError: one of several jobs was moved by somebody else.

    """
    return _move_each(tx, [_retrying(tx, job, beginning) for job, beginning in found], actor=actor)


def _retrying(tx: Transaction, job: JobRecord, beginning: dict[str, Any]) -> _Step:
    if job.linode_id is None:
        counted = {**beginning, "counted": True} if beginning else {}
        return _Step(job, Event.RETRIED, {**_anew(job), **counted})
    columns = {"afterwards": "retry", "run_after": tx.now, "looks": 0, "ended_at": None, **_wasted(tx, job)}
    return _Step(job, Event.RETRY_NOTED, columns, {"linode_id": job.linode_id})


def fell_back(
    tx: Transaction, job: JobRecord, reason: Reason, following: Present, *, actor: str
) -> JobRecord | None:
    """Take the next of the request's alternatives, in a new attempt.

    Only after a definite no with nothing unknown, or where it was seen absent since the no that followed an unknown
    send.
    """
    after(
        job.state, Event.FELL_BACK
    )  # the law first: what is no fallback at all is that, whatever is unknown
    seen_absent = replace(job, last_unknown_at=None) if job.state is State.UNCERTAIN else job
    columns = {**_anew(seen_absent), "last_unknown_at": None, **vars(following)}
    detail = {
        **_explained(reason),
        "from": f"{job.type} in {job.region}",
        "to": f"{following.type} in {following.region}",
    }
    return _move(tx, job, Event.FELL_BACK, actor=actor, detail=detail, columns=columns)


def _anew(job: JobRecord) -> dict[str, Any]:
    """Return the columns of a job whose last attempt is closed and whose next one waits."""
    if job.last_unknown_at is not None:
        raise ValueError(f"attempt {job.attempt} of job {job.id} is not closed: a send is unknown")
    forgotten = (
        *("linode_id", "ipv4", "ipv6", "got_type", "got_region", "created_at", "running_at", "expires_at"),
        *("ended_at", "run_after", "lease_until", "send_before", "ending", "afterwards", "parked_at"),
    )
    return {
        **dict.fromkeys(forgotten),
        **_error(None),
        "attempt": job.attempt + 1,
        "tries": 0,
        "looks": 0,
    }


def select_records(
    tx: Transaction,
    *where: Any,  # noqa: ANN401 - SQLAlchemy expressions
    order_by: Iterable[Any] = (),
    limit: int | None = None,
) -> list[JobRecord]:
    """Return the records that fit ``where``."""
    statement = select(*RECORD_COLUMNS).where(*where).order_by(*order_by)
    return [record(row) for row in tx.execute(statement if limit is None else statement.limit(limit))]
