"""Admission: spending a rate window on jobs, in one short transaction.

Whoever holds the window's row lock is the admitter; there is no leader. Lock order everywhere: window, tenant, jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, and_, bindparam, delete, exists, func, select, true, update

from jobs import shares, transitions, windows
from jobs.database import Timed, Transaction
from jobs.records import (
    RECORD_COLUMNS,
    JobRecord,
    accounts,
    fleets,
    in_state,
    installation,
    jobs,
    rate_windows,
    record,
    tenants,
    tokens,
)
from jobs.states import State
from jobs.transitions import Fenced
from jobs.windows import Call, RateFacts, Window

CREATE: Final = "POST /linode/instances"
PROBE_SECONDS: Final = 15.0
"""A paused or failing account gets one create per so many seconds, to find out whether it is over."""
FAULTS_BEFORE_PROBING: Final = 5
_PAUSE: Final = timedelta(milliseconds=20)
_LEASE_SLACK: Final = timedelta(seconds=1)
_WAKE_AT_ONCE: Final = 1000
_KEPT: Final = timedelta(hours=1)
"""A bucket that only a refusal showed is forgotten by a worker that starts so long after the last one."""
_WINDOW_FIELDS: Final = [field.name for field in fields(Window)]


@dataclass(frozen=True)
class Limit:
    """A documented or configured limit: ``allowed`` calls (0: none) per ``seconds``."""

    allowed: int
    seconds: float


@dataclass(frozen=True)
class Admission:
    """What one try to admit came to."""

    granted: Sequence[str] = ()
    """The ids of the jobs that have a grant now."""
    skipped: bool = False
    """Another worker holds the window; try again soon."""
    next_at: datetime | None = None
    """When to try again; None: as soon as something is submitted."""


class Waiting(NamedTuple):
    """A job that is next, as it was found by a look without a lock."""

    priority: int
    id: str
    version: int
    tenant_id: str
    weight: int
    """Its tenant's."""


@dataclass(frozen=True)
class Grant:
    """A job that was admitted, as its create finds it."""

    job: JobRecord
    unopened: bool
    """No call of its window was sent yet."""
    sick: bool
    """Its account is paused, is being probed, or had a fault last."""
    held: bool = False
    """A person has paused its fleet, its account, or everything."""
    request_id: str | None = None
    """Of the request that made its fleet."""


@dataclass(frozen=True)
class Heard:
    """What a reply said of the rate limit, and the call that it answered. ``throttled``: it was a 429."""

    facts: RateFacts
    call: Call
    throttled: bool = False

    def taught(self, known: Sequence[Window], now: datetime) -> list[Window]:
        """Return the windows as they are known after it."""
        return windows.taught(known, self.facts, self.call, now=now, throttled=self.throttled)

    def confirms(self, known: Sequence[Window], now: datetime) -> bool:
        """Whether it says nothing new."""
        return not self.throttled and self.taught(known, now) == list(known)


@dataclass(frozen=True)
class _Bucket:
    number: int
    window: Window
    shares: dict[str, float]


def register(
    tx: Transaction,
    *,
    account_id: str,
    token_id: str,
    limits: dict[str, Sequence[Limit]],
    scopes: str | None = None,
) -> None:
    """Make sure that the account, its token and the token's windows have rows; what was learnt is kept."""
    tx.insert_missing(accounts, {"id": account_id, "epoch": 0, "faults": 0, "created_at": tx.now})
    row = {"id": token_id, "account_id": account_id, "scopes": scopes, "created_at": tx.now}
    tx.insert_missing(tokens, row)
    for route, buckets in limits.items():
        _register_windows(tx, token_id, route, buckets)


def _register_windows(tx: Transaction, token_id: str, route: str, buckets: Sequence[Limit]) -> None:
    of_route = and_(rate_windows.c.token_id == token_id, rate_windows.c.route == route)
    learnt = and_(of_route, rate_windows.c.bucket >= len(buckets), rate_windows.c.refused_at < tx.now - _KEPT)
    tx.execute(delete(rate_windows).where(learnt))
    known = set(tx.execute(select(rate_windows.c.bucket).where(of_route)).scalars())
    for number, limit in enumerate(buckets):
        if number not in known:
            _add_bucket(tx, token_id, route, number, Window(allowed=limit.allowed, seconds=limit.seconds))


def _add_bucket(tx: Transaction, token_id: str, route: str, number: int, window: Window) -> None:
    row = {"token_id": token_id, "route": route, "bucket": number, **_columns(window)}
    tx.insert_missing(rate_windows, row)


def _columns(window: Window) -> dict[str, Any]:
    return {name: getattr(window, name) for name in _WINDOW_FIELDS}


_SICK: Final = (accounts.c.faults > 0) | accounts.c.probe_at.is_not(None)
# Statements that every call or every turn needs are built once: building one costs more than running it.
_TOKEN: Final[BindParameter[Any]] = bindparam("token")
_ROUTE: Final[BindParameter[Any]] = bindparam("route_")
_OF_ROUTE: Final = and_(rate_windows.c.token_id == _TOKEN, rate_windows.c.route == _ROUTE)
_BUCKETS: Final = (
    select(rate_windows.c.bucket, rate_windows.c.shares, *(rate_windows.c[name] for name in _WINDOW_FIELDS))
    .where(_OF_ROUTE)
    .order_by(rate_windows.c.bucket)
)
_LOCKED_BUCKETS: Final = _BUCKETS.with_for_update()
_WRITE_BUCKET: Final = (
    update(rate_windows)
    .where(_OF_ROUTE, rate_windows.c.bucket == bindparam("number"))
    .values({name: bindparam(name) for name in (*_WINDOW_FIELDS, "shares")})
)
_UNOPENED: Final = and_(_OF_ROUTE, rate_windows.c.opened_at.is_(None))
# Locked in the order of all others: an UPDATE of two rows chooses its own.
_LOCKED_UNOPENED: Final = (
    select(rate_windows.c.bucket).where(_UNOPENED).order_by(rate_windows.c.bucket).with_for_update()
)
_OPEN: Final = update(rate_windows).where(_UNOPENED).values(opened_at=bindparam("at"))


def _of_route(token_id: str, route: str) -> dict[str, Any]:
    return {"token": token_id, "route_": route}


def _bucket(row: Any) -> _Bucket:  # noqa: ANN401 - a row of _buckets
    return _Bucket(row[0], Window(*row[2 : len(_WINDOW_FIELDS) + 2]), row[1] or {})


def _read(tx: Transaction, token_id: str, route: str, *, lock: bool) -> list[_Bucket]:
    statement = _LOCKED_BUCKETS if lock else _BUCKETS
    return [_bucket(row) for row in tx.execute(statement, _of_route(token_id, route))]


def _write(tx: Transaction, token_id: str, route: str, before: _Bucket, after: _Bucket) -> None:
    if after == before:
        return
    values = {**_columns(after.window), "shares": after.shares or None, "number": before.number}
    tx.execute(_WRITE_BUCKET, _of_route(token_id, route) | values)


def read_windows(tx: Transaction, token_id: str, route: str) -> list[Window]:
    """Return the windows of a route as they were last written, without a lock."""
    return [bucket.window for bucket in _read(tx, token_id, route, lock=False)]


def next_opening(tx: Transaction, token_id: str, route: str) -> datetime | None:
    """Return when the next call of a route may go, None: now. Without a lock."""
    return _next_opening(_rolled(_read(tx, token_id, route, lock=False), tx.now), tx.now)


def spend(tx: Transaction, *, token_id: str, route: str) -> datetime | None:
    """Spend one call of a read's window that is about to be sent.

    Returns:
        None when the call may go now, else the moment to try again. A route without a window has no limit.

    """
    stored = _read(tx, token_id, route, lock=True)
    buckets = _rolled(stored, tx.now)
    opening = _next_opening(buckets, tx.now)
    if opening is not None:
        return opening
    for before, bucket in zip(stored, buckets, strict=True):
        spent = windows.opened(windows.granted(bucket.window, 1, tx.now), tx.now)
        _write(tx, token_id, route, before, replace(bucket, window=spent))
    return None


_JOB_AND_GRANT: Final = select(
    *RECORD_COLUMNS,
    exists().where(
        rate_windows.c.token_id == jobs.c.token_id,
        rate_windows.c.route == CREATE,
        rate_windows.c.opened_at.is_(None),
    ),
    exists().where(accounts.c.id == jobs.c.account_id, _SICK),
    exists().where(fleets.c.id == jobs.c.fleet_id, fleets.c.held_at.is_not(None))
    | exists().where(accounts.c.id == jobs.c.account_id, accounts.c.held_at.is_not(None))
    | exists().where(installation.c.held_at.is_not(None)),
    select(fleets.c.request_id).where(fleets.c.id == jobs.c.fleet_id).scalar_subquery(),
).where(jobs.c.id.in_(bindparam("job_ids", expanding=True)))
_GRANT: Final = Timed(_JOB_AND_GRANT)
_FREE_GRANTS: Final = Timed(_JOB_AND_GRANT.with_for_update(of=jobs, skip_locked=True))


def load_grants(tx: Transaction, job_ids: Sequence[str]) -> dict[str, Grant]:
    """Return jobs with what their creates need to know, in one statement.

    Several are locked, but for those that somebody else holds, which are left out: a transaction that moves many jobs
    must not wait for one, or two of them could wait for each other.
    """
    statement = _GRANT if len(job_ids) == 1 else _FREE_GRANTS
    grants = map(_grant_of, tx.rows(statement, {"job_ids": job_ids}))
    return {grant.job.id: grant for grant in grants}


def _grant_of(row: Any) -> Grant:  # noqa: ANN401 - a row of _JOB_AND_GRANT
    width = len(RECORD_COLUMNS)
    unopened, sick, held, request_id = row[width : width + 4]
    return Grant(record(row[:width]), bool(unopened), bool(sick), bool(held), request_id)


def open_window(tx: Transaction, job: JobRecord, *, route: str = CREATE) -> None:
    """Note that the first call of the job's window is about to be sent. Called in the intent's transaction."""
    if job.token_id is None:
        return
    which = _of_route(job.token_id, route)
    if tx.execute(_LOCKED_UNOPENED, which).all():
        tx.execute(_OPEN, {**which, "at": tx.now})


def learn(
    tx: Transaction,
    *,
    token_id: str,
    route: str,
    replies: Sequence[Heard],
    account_id: str | None = None,
) -> bool:
    """Teach the windows of a route what replies said; return whether there was anything to learn.

    Most replies only confirm what is known, and need neither a lock nor a write. With ``account_id`` it is found out,
    where that matters, whether another create of the account is under way.
    """
    known = [bucket.window for bucket in _read(tx, token_id, route, lock=False)]
    if account_id is not None and any(map(windows.is_disturbed, known)):
        replies = [_asked_whether_alone(tx, reply, account_id) for reply in replies]
    if all(reply.confirms(known, tx.now) for reply in replies):
        return False
    stored = _read(tx, token_id, route, lock=True)
    rolled = _rolled(stored, tx.now)
    taught = [bucket.window for bucket in rolled]
    for reply in replies:
        taught = reply.taught(taught, tx.now)
    for before, bucket, window in zip(stored, rolled, taught, strict=False):
        _write(tx, token_id, route, before, replace(bucket, window=window))
    for number, window in enumerate(taught[len(stored) :], start=1):
        _add_bucket(tx, token_id, route, stored[-1].number + number, window)
    return True


def _asked_whether_alone(tx: Transaction, reply: Heard, account_id: str) -> Heard:
    if reply.facts.remaining is None:
        return reply
    return replace(reply, call=replace(reply.call, alone=alone(tx, account_id)))


def alone(tx: Transaction, account_id: str) -> bool:
    """Whether at most one create of the account is under way: the one that asks."""
    return sum(len(tx.execute(one, {"account": account_id}).all()) for one in _UNDER_WAY) <= 1


# Admission proper ----------------------------------------------------------------------------------------------------


_OF_ACCOUNT: Final = jobs.c.account_id == bindparam("account")
_QUEUED: Final = and_(_OF_ACCOUNT, in_state(State.QUEUED))
GOING: Final = jobs.c.fleet_id.not_in(
    # Read once for a statement, by the two small indexes, and then looked up in memory. A join would be planned.
    select(fleets.c.id)
    .where(fleets.c.held_at.is_not(None))
    .union_all(select(fleets.c.id).where(fleets.c.stopped_at.is_not(None)))
)
"""The job's fleet was neither paused by a person nor stopped by its own policy."""
_READY: Final = and_(_QUEUED, jobs.c.run_after.is_(None), GOING)
_SNOOZED: Final = and_(_QUEUED, jobs.c.run_after.is_not(None))
_AWAKE: Final = and_(_SNOOZED, jobs.c.run_after <= bindparam("now"))
# In the order of the index: without it a planner may look for the one row from the table's wrong end.
_ANY_READY: Final = select(jobs.c.id).where(_READY).order_by(jobs.c.tenant_id).limit(1)
_NEXT_SNOOZE: Final = select(func.min(jobs.c.run_after)).where(_SNOOZED)
# A statement of each: each of the two states has its own index.
_UNDER_WAY: Final = [
    select(jobs.c.id).where(_OF_ACCOUNT, in_state(state)).limit(2)
    for state in (State.DISPATCHED, State.CREATING)
]
# Bounded by the index's own column: whoever holds an old snapshot keeps all former leases in that index.
_GRANTS: Final = (
    select(func.count())
    .select_from(jobs)
    .where(_OF_ACCOUNT, in_state(State.DISPATCHED))
    .where(jobs.c.lease_until > bindparam("now"))
)
_WAITING: Final = select(tenants.c.id).where(exists().where(_READY, jobs.c.tenant_id == tenants.c.id))
_HEAD: Final = (
    select(jobs.c.priority, jobs.c.id, jobs.c.version)
    .where(_READY, jobs.c.tenant_id == tenants.c.id)
    .order_by(jobs.c.priority.desc(), jobs.c.id)
    .limit(bindparam("most"))
)
_ONE_HEAD: Final = _HEAD.add_columns(tenants.c.id.label("tenant_id"), tenants.c.weight).where(
    tenants.c.id == bindparam("tenant")
)
_EACH: Final = _HEAD.correlate(tenants).lateral("head")
_ALL_HEADS: Final = select(*_EACH.c, tenants.c.id.label("tenant_id"), tenants.c.weight).join(_EACH, true())
# Asked under the window's lock: who pauses a fleet waits for that lock, and may count on what is granted after it.
_STILL_READY: Final = (
    select(jobs.c.id)
    .where(jobs.c.id.in_(bindparam("job_ids", expanding=True)), _READY)
    .with_for_update(of=jobs, skip_locked=True)
)
_TO_WAKE: Final = (
    select(jobs.c.id)
    .where(_AWAKE)
    .order_by(jobs.c.run_after, jobs.c.id)
    .limit(_WAKE_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_IS_ACCOUNT: Final = accounts.c.id == bindparam("account")
_HEALTH_COLUMNS: Final = (
    accounts.c.epoch,
    accounts.c.probe_at,
    select(installation.c.epoch).scalar_subquery().label("epoch_now"),
    (accounts.c.held_at.is_not(None) | exists().where(installation.c.held_at.is_not(None))).label("held"),
)
_HEALTH: Final = select(*_HEALTH_COLUMNS).where(_IS_ACCOUNT)
_EVERY: Final = rate_windows.alias()
# With the account's health: what changed in the microseconds before the lock could as well have changed after a look.
_FREE_BUCKETS: Final = Timed(
    _BUCKETS.add_columns(
        select(func.count())
        .select_from(_EVERY)
        .where(_EVERY.c.token_id == _TOKEN, _EVERY.c.route == _ROUTE)
        .scalar_subquery()
        .label("of_route"),
        *_HEALTH_COLUMNS,
    )
    .outerjoin_from(rate_windows, accounts, _IS_ACCOUNT)
    .with_for_update(of=rate_windows, skip_locked=True)
)


def anything_ready(tx: Transaction, account_id: str) -> bool:
    """Whether a job could be admitted now. A cheap read, before a lock is taken."""
    return tx.execute(_ANY_READY, {"account": account_id}).first() is not None


def next_chance(tx: Transaction, *, account_id: str, token_id: str, route: str = CREATE) -> datetime | None:
    """Return until when nothing can be admitted, None for nothing in the way. Reads only, and without a lock.

    Workers ask this before they take the window's lock, so that waiting for an opening costs no write.
    """
    shut_until = _shut_until(tx, account_id)
    if shut_until is not None and shut_until > tx.now:
        return shut_until
    return next_opening(tx, token_id, route)


def _rolled(buckets: Sequence[_Bucket], now: datetime) -> list[_Bucket]:
    return [replace(bucket, window=windows.rolled(bucket.window, now)) for bucket in buckets]


def room(tx: Transaction, token_id: str, *, most: int, route: str = CREATE) -> int:
    """Return how many calls of a route may go now, ``most`` at most. Without a lock."""
    return _room(_rolled(_read(tx, token_id, route, lock=False), tx.now), tx.now, most)


def next_snooze(tx: Transaction, account_id: str) -> datetime | None:
    """Return when the next snoozed job comes back, or None."""
    moment: datetime | None = tx.execute(_NEXT_SNOOZE, {"account": account_id}).scalar()
    return moment


def next_jobs(tx: Transaction, account_id: str, most: int) -> list[Waiting]:
    """Return the next jobs of each tenant, ``most`` at most of each, to be admitted. Nothing is locked.

    Each tenant's jobs are read from the head of its own part of the index, so that a long queue costs no more.
    """
    which = {"account": account_id, "most": most}
    if not tx.on_sqlite:
        return [Waiting(*row) for row in tx.execute(_ALL_HEADS, which)]
    # SQLite has no LATERAL, and statements cost next to nothing.
    tenants_ = tx.execute(_WAITING, {"account": account_id}).scalars().all()
    return [Waiting(*row) for one in tenants_ for row in tx.execute(_ONE_HEAD, {**which, "tenant": one})]


def admit(
    tx: Transaction,
    waiting: Sequence[Waiting],
    *,
    account_id: str,
    token_id: str,
    actor: str,
    most: int,
    route: str = CREATE,
) -> Admission:
    """Grant what is left of the window to the next jobs.

    The jobs were looked for before: a walk to the head of a long queue, past all that was granted while somebody held
    an old snapshot, is not made while the window is locked. Whoever else had them in between is passed over.

    Args:
        tx: a write transaction; the caller commits it, then sends one wake-up per granted job.
        waiting: the next jobs, by :func:`next_jobs`, with ``most`` at least.
        account_id: the account whose jobs wait.
        token_id: the token whose window is spent.
        actor: who admits, for the timeline.
        most: how many jobs to grant at most.
        route: the window's route.

    """
    rows = tx.rows(_FREE_BUCKETS, _of_route(token_id, route) | {"account": account_id})
    if not rows or len(rows) < rows[0].of_route:
        # Somebody who holds but one of a route's buckets spends from it.
        return Admission(skipped=True)
    buckets = [_bucket(row) for row in rows]
    rolled = _rolled(buckets, tx.now)
    shut_until = _until(rows[0], tx.now)
    if shut_until is not None and shut_until > tx.now:
        return Admission(next_at=shut_until)
    left = _room(rolled, tx.now, most)
    if shut_until is not None:
        left = min(left, 1 - open_grants(tx, account_id))
    if left <= 0:
        return Admission(next_at=_next_opening(rolled, tx.now) or tx.now + _PAUSE)
    chosen, after = _choose(waiting, left, rolled[0])
    ready = _still_ready(tx, account_id, chosen)
    granted = _grant(tx, ready, rolled, token_id=token_id, actor=actor)
    if len(granted) < len(chosen):
        _, after = _choose([job for job in chosen if job.id in granted], left, rolled[0])
    rolled[0] = after
    for before, bucket in zip(buckets, rolled, strict=True):
        spent = windows.granted(bucket.window, len(granted), tx.now) if granted else bucket.window
        _write(tx, token_id, route, before, replace(bucket, window=spent))
    if granted and shut_until is not None:
        _schedule_probe(tx, account_id)
    return Admission(tuple(granted), next_at=tx.now + _PAUSE if chosen and not granted else None)


def _room(buckets: Sequence[_Bucket], now: datetime, most: int) -> int:
    left = [windows.room(bucket.window, now) for bucket in buckets]
    return min([most, *(calls for calls in left if calls is not None)])


def _next_opening(buckets: Sequence[_Bucket], now: datetime) -> datetime | None:
    shut = [bucket.window for bucket in buckets if windows.room(bucket.window, now) == 0]
    return max((windows.next_opening(window, now) for window in shut), default=None)


def open_grants(tx: Transaction, account_id: str) -> int:
    """Return how many of the account's jobs have a grant that was not used yet."""
    return int(tx.execute(_GRANTS, {"account": account_id, "now": tx.now}).scalar_one())


def _choose(waiting: Sequence[Waiting], most: int, bucket: _Bucket) -> tuple[list[Waiting], _Bucket]:
    """Return whose turn it is, and the bucket with the tenants' shares after it."""
    by_id = {job.id: job for job in waiting}
    candidates = [shares.Candidate(-job.priority, job.id, job.tenant_id) for job in waiting]
    weights = {job.tenant_id: job.weight for job in waiting}
    chosen, ahead = shares.choose(candidates, most, weights=weights, ahead=bucket.shares)
    return [by_id[job_id] for job_id in chosen], replace(bucket, shares=ahead)


def _still_ready(tx: Transaction, account_id: str, chosen: Sequence[Waiting]) -> list[Waiting]:
    """Lock those that are still ready and that nobody else holds, without waiting for any."""
    which = {"account": account_id, "job_ids": [job.id for job in chosen]}
    free = set(tx.execute(_STILL_READY, which).scalars()) if chosen else set()
    return [job for job in chosen if job.id in free]


def wake(tx: Transaction, account_id: str) -> None:
    """Make jobs ready whose snooze is over; many at once in several turns, and none that somebody else holds."""
    found = tx.execute(_TO_WAKE, {"account": account_id, "now": tx.now}).scalars().all()
    if found:
        tx.execute(update(jobs).where(jobs.c.id.in_(found)).values(run_after=None))


def _grant(
    tx: Transaction, picked: Sequence[Fenced], buckets: Sequence[_Bucket], *, token_id: str, actor: str
) -> list[str]:
    until = min(windows.send_before(bucket.window, tx.now) for bucket in buckets)
    return transitions.admitted(
        tx,
        picked,
        actor=actor,
        token_id=token_id,
        generation=buckets[0].window.generation,
        send_before=until,
        lease_until=until + _LEASE_SLACK,
    )


# The account's health ------------------------------------------------------------------------------------------------


def _shut_until(tx: Transaction, account_id: str) -> datetime | None:
    """Return None when admission is open, else from when one probe may go (ever later: not at all for now)."""
    return _until(tx.execute(_HEALTH, {"account": account_id}).first(), tx.now)


def _until(row: Any, now: datetime) -> datetime | None:  # noqa: ANN401 - a row with _HEALTH_COLUMNS
    if row is None or row.epoch != row.epoch_now or row.held:
        return now + timedelta(seconds=1)
    probe_at: datetime | None = row.probe_at
    return probe_at


def _schedule_probe(tx: Transaction, account_id: str) -> None:
    at = tx.now + timedelta(seconds=PROBE_SECONDS)
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(probe_at=at))


def pause(tx: Transaction, account_id: str, *, code: str, reason: str) -> None:
    """Take the account out of service; one probe now and then finds out whether it is over."""
    at = tx.now + timedelta(seconds=PROBE_SECONDS)
    values = {"paused_code": code, "paused_reason": reason, "probe_at": at}
    first = func.coalesce(accounts.c.paused_at, tx.now)
    tx.execute(update(accounts).where(accounts.c.id == account_id).values(**values, paused_at=first))


def fault(tx: Transaction, account_id: str) -> None:
    """Count a fault of the account's API; from :data:`FAULTS_BEFORE_PROBING` in a row on, creates go one by one."""
    counted = update(accounts).where(accounts.c.id == account_id).values(faults=accounts.c.faults + 1)
    faults = tx.execute(counted.returning(accounts.c.faults)).scalar()
    if faults is not None and faults >= FAULTS_BEFORE_PROBING:
        wait = min(2.0 ** (faults - FAULTS_BEFORE_PROBING), PROBE_SECONDS)
        at = tx.now + timedelta(seconds=wait)
        tx.execute(update(accounts).where(accounts.c.id == account_id).values(probe_at=at))


_HEAL: Final = (
    update(accounts)
    .where(accounts.c.id == bindparam("account"), _SICK)
    .values(faults=0, probe_at=None, paused_at=None, paused_code=None, paused_reason=None)
)


def healthy(tx: Transaction, account_id: str) -> None:
    """Note that the API answered a create sensibly: nothing is paused, nothing is probed."""
    tx.execute(_HEAL, {"account": account_id})


def failing(tx: Transaction, account_id: str) -> bool:
    """Whether the account's API is failing as a whole, so that single jobs are not to blame."""
    faults = tx.execute(select(accounts.c.faults).where(accounts.c.id == account_id)).scalar()
    return (faults or 0) >= FAULTS_BEFORE_PROBING
