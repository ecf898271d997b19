"""From an accepted request to rows: the tenant's guards, the fleet, its jobs and their first events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, insert, null, or_, select, text, update

from jobs import existing, transitions
from jobs.catalog import Catalog
from jobs.cost import format_usd
from jobs.database import Transaction
from jobs.identity import new_ids
from jobs.records import JobRecord, fleets, in_state, job_events, jobs, tenants
from jobs.requests import GIVEN_SECRETS, FleetRequest, GroupRequest, InvalidRequest, RequestFault
from jobs.starts import Start, start_of, starts_of
from jobs.states import Event, State
from jobs.transitions import Present, Reason
from jobs.validation import Report, judge_group

QUOTA: Final = "quota_exceeded"
_ENDED: Final = (State.REJECTED.value, State.CANCELLED.value, State.DELETED.value)
_UNBOUGHT: Final = (State.SUBMITTED, State.QUEUED, State.DISPATCHED, State.CREATING, State.UNCERTAIN)


@dataclass(frozen=True)
class Guards:
    """What a tenant may hold at once, unless its own row says otherwise. Money in micro-dollars per hour."""

    max_instances: int = 500
    max_hourly_microusd: int = 50_000_000
    max_count: int = 10_000

    def laid_over(self, own: Any) -> "Guards":  # noqa: ANN401 - a row of tenants
        """Return the guards that hold for a tenant: its own, and these where it has none."""
        return Guards(
            self.max_instances if own.max_instances is None else own.max_instances,
            self.max_hourly_microusd if own.max_hourly_microusd is None else own.max_hourly_microusd,
            self.max_count if own.max_count is None else own.max_count,
        )


@dataclass(frozen=True)
class Trace:
    """How a request is found again in the caller's logs and traces."""

    request_id: str | None = None
    traceparent: str | None = None
    """W3C trace context."""


@dataclass(frozen=True)
class Draft:
    """A validated request, ready to become rows."""

    fleet_id: str
    tenant: str
    actor: str
    request: FleetRequest
    labels: Sequence[Sequence[str]]
    report: Report | None
    """None: not validated yet, because there is no catalog (requests that came by Celery)."""
    catalog: Catalog | None
    sealed: bytes | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    trace: Trace = Trace()
    homes: Sequence[str] = ()
    """The account of each job, in order."""
    pins: Sequence[bool] = ()
    """Of each group: whether its jobs must stay in their account."""


@dataclass(frozen=True)
class _Slot:
    """One job to be: where it stands in its fleet, what it is called, what it begins with and what is wrong with it."""

    position: int
    group: int
    label: str
    start: Start
    fault: RequestFault | None


def _slots(tx: Transaction, draft: Draft) -> list[_Slot]:
    return list(_number(tx, draft))


def _number(tx: Transaction, draft: Draft) -> Iterator[_Slot]:
    position = 0
    for group, spec in enumerate(draft.request.groups):
        labels = draft.labels[group] if group < len(draft.labels) else ()
        parts = starts_of(spec, draft.catalog, tx.now)
        for index, start in enumerate(start for start, count in parts for _ in range(count)):
            position += 1
            label = labels[index] if index < len(labels) else f"{draft.request.name}-{position:04d}"
            fault = None if draft.report is None else draft.report.fault_for(group, label)
            yield _Slot(position, group, label, start, fault)


def insert_fleet(tx: Transaction, draft: Draft, *, guards: Guards, dice: Random) -> None:
    """Write the fleet, its jobs and their first events, within the tenant's guards.

    Raises:
        InvalidRequest: a guard would be exceeded (the fault says how much is left), or a fleet of the name is there.
            The transaction must be rolled back.

    """
    slots = _slots(tx, draft)
    good = [slot for slot in slots if slot.fault is None]
    _reserve(tx, draft, guards, count=len(good), hourly=_dearest(good))
    tx.execute(insert(fleets), _fleet_row(tx, draft))
    # The tenant's row is locked: nobody else of it submits meanwhile.
    existing.refuse(tx, draft.tenant, draft.request)
    _insert_jobs(tx, draft, slots, {}, dice=dice)


def insert_more(
    tx: Transaction,
    draft: Draft,
    *,
    total: int,
    after: int,
    more: dict[str, Any],
    guards: Guards,
    dice: Random,
) -> None:
    """Write more jobs of a fleet that is there, within the tenant's guards, whose row is locked.

    ``draft``: its only group is what they are made from. ``total``: how many jobs the fleet then has. ``after``: the
    last position that is taken. ``more``: columns that the fleet says, not the draft.

    Raises:
        InvalidRequest: a guard would be exceeded; the fault says how much is left. Nothing is written.

    """
    slots = _slots(tx, draft)
    reserve(tx, draft.tenant, guards, count=len(slots), hourly=_dearest(slots), total=total, field="to")
    _insert_jobs(tx, draft, slots, more, after=after, dice=dice)


def _insert_jobs(
    tx: Transaction, draft: Draft, slots: list[_Slot], more: dict[str, Any], *, after: int = 0, dice: Random
) -> None:
    ids = new_ids(len(slots), tx.now, dice)
    rows = [
        {**_job_row(tx, draft, slot, job_id), "position": slot.position + after, **more}
        for slot, job_id in zip(slots, ids, strict=True)
    ]
    if not tx.on_sqlite:
        # An insert has no plan to choose, and a new one for each of 10,000 rows is a third of their cost.
        tx.execute(text("SET LOCAL plan_cache_mode = auto"))
    tx.execute(insert(jobs), rows)
    tx.execute(
        insert(job_events),
        [_first_event(tx, draft, slot, row) for slot, row in zip(slots, rows, strict=True)],
    )


def _dearest(slots: Sequence[_Slot]) -> int:
    return sum(slot.start.dearest.hourly for slot in slots)


def _fleet_row(tx: Transaction, draft: Draft) -> dict[str, Any]:
    request = draft.request
    groups = [
        {**group.stored(), "tags": request.tags_of(position)} for position, group in enumerate(request.groups)
    ]
    return {
        "id": draft.fleet_id,
        "tenant_id": draft.tenant,
        "name": request.name,
        "count": request.total,
        "priority": request.priority,
        "groups": groups,
        "sealed": draft.sealed,
        "secrets_erased": False,
        "idempotency_key": draft.idempotency_key,
        "request_hash": draft.request_hash,
        "request_id": draft.trace.request_id,
        "traceparent": draft.trace.traceparent,
        "not_before": request.not_before,
        "deadline_at": request.deadline,
        "ttl_seconds": request.ttl,
        "boot_timeout_seconds": request.boot_timeout,
        # None would be JSON's null, which is not the database's.
        "on_failure": null() if request.on_failure is None else request.on_failure.model_dump(),
        "created_at": tx.now,
    }


def _first_state(draft: Draft, slot: _Slot) -> State:
    if slot.fault is not None:
        return State.REJECTED
    return State.SUBMITTED if draft.report is None else State.QUEUED


def _job_row(tx: Transaction, draft: Draft, slot: _Slot, job_id: str) -> dict[str, Any]:
    request, spec = draft.request, draft.request.groups[slot.group]
    fault, start = slot.fault, slot.start
    return {
        "id": job_id,
        "fleet_id": draft.fleet_id,
        "tenant_id": draft.tenant,
        "account_id": draft.homes[slot.position - 1],
        "position": slot.position,
        "group_index": slot.group,
        "label": slot.label,
        "choice": start.choice,
        "type": start.pair.type,
        "region": start.pair.region,
        "image": spec.image,
        "booted": spec.booted,
        "priority": request.priority,
        "pinned": draft.pins[slot.group],
        "state": _first_state(draft, slot).value,
        "version": 1,
        "attempt": 1,
        "sends": 0,
        "tries": 0,
        "looks": 0,
        "hourly_microusd": 0 if start.price is None else start.price.hourly,
        "counted": fault is None,
        "reserved_microusd": start.dearest.hourly,
        "run_after": _not_before(tx, request) if fault is None else None,
        "ttl_seconds": request.ttl,
        "boot_timeout_seconds": request.boot_timeout,
        "error_code": None if fault is None else fault.code,
        "error_reason": None if fault is None else f"{fault.message}; {fault.remedy}",
        "error_field": None if fault is None else fault.field,
        "submitted_at": tx.now,
        "changed_at": tx.now,
        "ended_at": None if fault is None else tx.now,
    }


def _not_before(tx: Transaction, request: FleetRequest) -> datetime | None:
    moment = request.not_before
    return None if moment is None or moment <= tx.now else moment


_FIRST_EVENTS: Final = {
    State.REJECTED: Event.INVALID,
    State.QUEUED: Event.VALIDATED,
    State.SUBMITTED: Event.SUBMITTED,
}


def _first_event(tx: Transaction, draft: Draft, slot: _Slot, row: dict[str, Any]) -> dict[str, Any]:
    state = _first_state(draft, slot)
    fault = slot.fault
    return {
        "job_id": row["id"],
        "at": tx.now,
        "event": _FIRST_EVENTS[state].value,
        "state": state.value,
        "actor": draft.actor,
        "detail": None if fault is None else {"code": fault.code, "reason": fault.message},
    }


# The tenant's guards -------------------------------------------------------------------------------------------------


def release(tx: Transaction, tenant: str) -> None:
    """Stop counting the tenant's jobs that ended without an instance since the last time.

    Only newly ended rows are touched (a partial index), whatever the table's size. Lock order: tenant, then jobs.
    """
    tx.execute(select(tenants.c.id).where(tenants.c.id == tenant).with_for_update())
    freed = or_(
        jobs.c.state.in_(_ENDED), and_(jobs.c.state == State.FAILED.value, jobs.c.linode_id.is_(None))
    )
    statement = update(jobs).where(jobs.c.tenant_id == tenant, jobs.c.counted, freed).values(counted=False)
    prices = tx.execute(statement.returning(jobs.c.reserved_microusd)).scalars().all()
    if prices:
        _count(tx, tenant, count=-len(prices), hourly=-sum(prices))


def _count(tx: Transaction, tenant: str, *, count: int, hourly: int) -> None:
    def atleast_zero(value: Any) -> Any:  # noqa: ANN401 - an SQL expression
        return case((value < 0, 0), else_=value)

    values = {
        "alive": atleast_zero(tenants.c.alive + count),
        "hourly_microusd": atleast_zero(tenants.c.hourly_microusd + hourly),
    }
    tx.execute(update(tenants).where(tenants.c.id == tenant).values(**values))


def guards_of(tx: Transaction, tenant: str, guards: Guards) -> Guards:
    """Return the guards that hold for a tenant."""
    return guards.laid_over(tx.execute(select(tenants).where(tenants.c.id == tenant)).one())


def _reserve(tx: Transaction, draft: Draft, guards: Guards, *, count: int, hourly: int) -> None:
    release(tx, draft.tenant)  # takes the tenant's row: whoever submits at the same moment waits
    row = tx.execute(select(tenants).where(tenants.c.id == draft.tenant)).one()
    most = guards.laid_over(row)
    found = [
        _too_large(draft.request.total, most),
        _too_many(row, count, most),
        _too_dear(row, hourly, most),
    ]
    faults = [_quota_fault(draft, count, words) for words in found if words is not None]
    if faults:
        raise InvalidRequest(faults)
    _count(tx, draft.tenant, count=count, hourly=hourly)


def _too_large(total: int, most: Guards) -> str | None:
    limit = most.max_count
    return None if total <= limit else f"{total} instances are more than the {limit} that one fleet may have"


def _too_many(row: Any, count: int, most: Guards) -> str | None:  # noqa: ANN401 - a row of tenants
    left = max(most.max_instances - row.alive, 0)
    if count <= left or count == 0:
        return None
    return f"{count} instances are more than the {left} left of {most.max_instances}"


def _too_dear(row: Any, hourly: int, most: Guards) -> str | None:  # noqa: ANN401 - a row of tenants
    limit = most.max_hourly_microusd
    left = max(limit - row.hourly_microusd, 0)
    if hourly <= left or hourly == 0:
        return None
    return f"{format_usd(hourly)} an hour are more than the {format_usd(left)} left of {format_usd(limit)}"


_REMEDY: Final = (
    "ask for fewer, or have the guard raised (`nodewright tenants set`, NODEWRIGHT_MAX_INSTANCES, "
    "NODEWRIGHT_MAX_HOURLY_USD)"
)


def reserve(
    tx: Transaction, tenant: str, guards: Guards, *, count: int, hourly: int, total: int = 0, field: str
) -> None:
    """Count more jobs of a fleet that is there. The tenant's row is locked by :func:`release`.

    ``total``: how many jobs the fleet then has; ``field``: what of the request a refusal names.

    Raises:
        InvalidRequest: a guard would be exceeded; the fault says how much is left. Nothing is counted.

    """
    row = tx.execute(select(tenants).where(tenants.c.id == tenant)).one()
    most = guards.laid_over(row)
    found = [_too_large(total, most), _too_many(row, count, most), _too_dear(row, hourly, most)]
    faults = [
        RequestFault(code=QUOTA, pointer=f"/{field}", field=field, value=count, message=words, remedy=_REMEDY)
        for words in found
        if words is not None
    ]
    if faults:
        raise InvalidRequest(faults)
    _count(tx, tenant, count=count, hourly=hourly)


def rehearse(tx: Transaction, draft: Draft, *, guards: Guards) -> tuple[RequestFault, ...]:
    """Reserve what the fleet needs, and return what refuses it. The caller must roll the transaction back."""
    good = [slot for slot in _slots(tx, draft) if slot.fault is None]
    try:
        _reserve(tx, draft, guards, count=len(good), hourly=_dearest(good))
    except InvalidRequest as error:
        return error.faults
    return ()


def _quota_fault(draft: Draft, count: int, message: str) -> RequestFault:
    pointer, name = draft.request.place(None if len(draft.request.groups) > 1 else 0, "count")
    return RequestFault(code=QUOTA, pointer=pointer, field=name, value=count, message=message, remedy=_REMEDY)


def validate_submitted(
    tx: Transaction, catalog: Catalog, *, account_id: str, actor: str, guards: Guards, limit: int = 500
) -> int:
    """Validate jobs that were accepted without a catalog, within their tenant's spend; return how many were seen."""
    waiting = (jobs.c.account_id == account_id, jobs.c.state == State.SUBMITTED.value)
    found = transitions.select_records(tx, *waiting, order_by=(jobs.c.id,), limit=limit)
    for tenant in sorted({job.tenant_id for job in found}):
        release(tx, tenant)
    for job in found:
        _settle_submitted(tx, job, catalog, actor=actor, guards=guards)
    return len(found)


def _settle_submitted(
    tx: Transaction, job: JobRecord, catalog: Catalog, *, actor: str, guards: Guards
) -> None:
    group, _, _ = load_group(tx, job.fleet_id, job.group_index)
    spec = GroupRequest.restore(group)
    start = start_of(spec, job.region, catalog, tx.now)
    found = judge_group(spec, job.region, catalog, now=tx.now)
    faults = [verdict for verdict in found if verdict.level == "fault"]
    if faults:
        reason = Reason(faults[0].code, f"{faults[0].message}; {faults[0].remedy}", faults[0].key)
        transitions.invalid(tx, job, reason, actor=actor)
        return
    price = start.dearest.hourly
    row = tx.execute(select(tenants).where(tenants.c.id == job.tenant_id)).one()
    over = _too_dear(row, price, guards.laid_over(row))
    if over is not None:
        transitions.invalid(tx, job, Reason(QUOTA, f"{over}; {_REMEDY}"), actor=actor)
        return
    if transitions.validated(tx, job, _present(start), dearest_microusd=price, actor=actor) is not None:
        _count(tx, job.tenant_id, count=0, hourly=price)


def _present(start: Start) -> Present:
    hourly = 0 if start.price is None else start.price.hourly
    return Present(start.choice, start.pair.type, start.pair.region, hourly)


# Secrets -------------------------------------------------------------------------------------------------------------


_NEEDS: Final = (
    select(jobs.c.id)
    .where(
        jobs.c.fleet_id == fleets.c.id,
        in_state(*_UNBOUGHT, State.DELETING),
        or_(jobs.c.state != State.DELETING.value, jobs.c.afterwards == "retry"),
    )
    .exists()
)
_UNNEEDED: Final = and_(fleets.c.sealed.is_not(None), ~_NEEDS)
_ANY_UNNEEDED: Final = select(fleets.c.id).where(_UNNEEDED).limit(1)


def keeps_secrets(tx: Transaction) -> bool:
    """Whether a fleet's secrets may be erased: it keeps some, and none of its jobs may still need them."""
    return tx.execute(_ANY_UNNEEDED).first() is not None


def erase_secrets(tx: Transaction) -> int:
    """Erase the sealed secrets of fleets whose creates are all over; return how many."""
    # Locked first, and looked at again: whoever retries or scales holds the fleet's row until its jobs are there.
    found = select(fleets.c.id).where(_UNNEEDED).with_for_update(skip_locked=True)
    ids = tx.execute(found).scalars().all()
    still = update(fleets).where(fleets.c.id.in_(ids), _UNNEEDED)
    return int(tx.execute(still.values(sealed=None, secrets_erased=True)).rowcount)


_LOAD_GROUP: Final = select(fleets.c.groups, fleets.c.sealed, fleets.c.secrets_erased).where(
    fleets.c.id == bindparam("fleet")
)


def load_group(tx: Transaction, fleet_id: str, group: int) -> tuple[dict[str, Any], bytes | None, bool]:
    """Return a fleet's group as asked for, its sealed secrets, and whether secrets of its own were erased."""
    row = tx.execute(_LOAD_GROUP, {"fleet": fleet_id}).one()
    asked = row[0][group]
    return asked, row[1], row[2] and bool(asked.get(GIVEN_SECRETS, True))
