"""The reads of the page that people watch: what went wrong, how it went, how fast it goes, who is alive.

Each one walks an index, and looks at a bounded number of rows: whoever has a million jobs waits no longer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Float,
    FromClause,
    Integer,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
)

from jobs import history as past
from jobs import waiting
from jobs.admission import CREATE
from jobs.database import Transaction
from jobs.history import History, Trace
from jobs.records import (
    catalogs,
    chores,
    fleets,
    in_open_state,
    in_state,
    job_events,
    jobs,
    rate_windows,
    tokens,
    webhook_deliveries,
    webhooks,
    workers,
)
from jobs.remedies import remedy
from jobs.states import PENDING, Event, State
from jobs.views import moment

ALIVE: Final = timedelta(seconds=30)
"""A worker writes its heartbeat every 10 s; one that missed three is not alive."""
PACE_SPAN: Final = timedelta(minutes=10)
LOOKED_AT: Final = 20_000
"""So many failed jobs, or events, are looked at for one question, and no more."""
EXACT: Final = 10_000
"""The history of a fleet that is no larger tells of each of its jobs …"""
SAMPLE: Final = 1_000
"""… and of one that is larger so many jobs, evenly spread, stand for all: one in 1,000 is less than a line's width."""
_EXAMPLES: Final = 3
_SHORTEST_STEP: Final = 1e-6
_HAIR: Final = 1e-6
_ALMOST_ONE: Final = 0.999_999
_NAMED: Final = 20


# What went wrong -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One job of a group."""

    id: str
    label: str


@dataclass(frozen=True)
class FailureGroup:
    """Jobs of a fleet that failed, or were rejected, for the same reason."""

    code: str
    reason: str | None
    """The words, with ``…`` where they differ from job to job."""
    field: str | None
    count: int
    rejected: int
    """How many of them were never sent: those cannot be retried."""
    owned: int
    """How many of them still own an instance, which costs money."""
    examples: tuple[Example, ...]
    remedy: str
    more: bool = False
    """Whether there are more failures than were looked at: then the counts are the least that there are."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {**vars(self), "examples": [vars(one) for one in self.examples]}


_UUID: Final = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_OWN_TO_EACH: Final = re.compile(rf"{_UUID}|\d+(?:\.\d+)+|(?<!\w)\d{{4,}}(?!\w)|(?<![\w.])\d+\.\d+(?= s\b)")
_ELLIPSIS: Final = "…"


def gist(reason: str) -> str:
    """Return a reason with ``…`` for what differs from job to job: ids, addresses, measured times."""
    return _OWN_TO_EACH.sub(_ELLIPSIS, reason)


def failures(tx: Transaction, fleet_id: str) -> tuple[FailureGroup, ...]:
    """Return why jobs of a fleet failed or were rejected, the most frequent reason first."""
    rows = tx.execute(_failed(fleet_id)).all()
    more = sum(row.count for row in rows) >= LOOKED_AT
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        key = (row.code, None if row.words is None else gist(row.words), row.field)
        groups.setdefault(key, []).append(row)
    positions = {key: _first_positions(found) for key, found in groups.items()}
    named = _examples(tx, fleet_id, [one for some in positions.values() for one in some])
    made = [_group(key, groups[key], [named[one] for one in positions[key]], more=more) for key in groups]
    return tuple(sorted(made, key=lambda group: (-group.count, group.code, group.reason or "")))


def _failed(fleet_id: str) -> Any:  # noqa: ANN401 - a select has no type of its own
    wrong = in_state(State.FAILED, State.REJECTED)
    looked_at = select(jobs).where(jobs.c.fleet_id == fleet_id, wrong).limit(LOOKED_AT).subquery()
    # A label of the job's own is what most reasons differ by: the database brings those together.
    words = func.replace(looked_at.c.error_reason, looked_at.c.label, _ELLIPSIS).label("words")
    keys = (looked_at.c.error_code.label("code"), words, looked_at.c.error_field.label("field"))
    rejected = case((looked_at.c.state == State.REJECTED.value, 1), else_=0)
    owned = case((looked_at.c.linode_id.is_not(None), 1), else_=0)
    return select(
        *keys,
        func.count().label("count"),
        func.sum(rejected).label("rejected"),
        func.sum(owned).label("owned"),
        func.min(looked_at.c.position).label("first"),
        func.max(looked_at.c.position).label("last"),
    ).group_by(*keys)


def _first_positions(rows: Sequence[Any]) -> list[int]:
    return sorted({position for row in rows for position in (row.first, row.last)})[:_EXAMPLES]


def _examples(tx: Transaction, fleet_id: str, positions: Sequence[int]) -> dict[int, Example]:
    which = and_(jobs.c.fleet_id == fleet_id, jobs.c.position.in_(positions[:LOOKED_AT]))
    rows = tx.execute(select(jobs.c.position, jobs.c.id, jobs.c.label).where(which))
    return {row.position: Example(row.id, row.label) for row in rows}


def _group(key: Any, rows: Sequence[Any], examples: Sequence[Example], *, more: bool) -> FailureGroup:  # noqa: ANN401 - a key
    code, reason, about = key
    return FailureGroup(
        code=code,
        reason=rows[0].words if len(rows) == 1 else reason,  # nothing differs: its numbers are worth reading
        field=about,
        count=sum(row.count for row in rows),
        rejected=sum(int(row.rejected) for row in rows),
        owned=sum(int(row.owned) for row in rows),
        examples=tuple(examples),
        remedy=remedy(code),
        more=more,
    )


# How it went ---------------------------------------------------------------------------------------------------------

_WAITED_TO_THE_END: Final = ("deadline_exceeded", "stopped_by_policy", "credentials_erased")
_AT_WORK: Final = [state.value for state in (*PENDING, State.DELETING)]
_MOMENTS: Final = (
    *("submitted_at", "dispatched_at", "sent_at", "created_at", "running_at", "ended_at", "changed_at"),
)


def history(tx: Transaction, fleet_id: str, points: int = 60) -> History:
    """Return how a fleet's jobs went through their states, at so many moments since its submit."""
    most = tx.execute(select(func.max(jobs.c.position)).where(jobs.c.fleet_id == fleet_id)).scalar() or 0
    stride = 1 if most <= EXACT else -(-most // SAMPLE)
    of = _some_of(fleet_id, most, stride)
    at_work = func.sum(case((of.c.state.in_(_AT_WORK), 1), else_=0))
    start, changed, busy, count = tx.execute(
        select(func.min(of.c.submitted_at), func.max(of.c.changed_at), at_work, func.count()).select_from(of)
    ).one()
    if start is None:
        return History(())
    end = max(tx.now if busy else changed, start)
    rows = tx.execute(_traced(tx, of, start, (end - start).total_seconds() / max(points - 1, 1)))
    traces = [Trace(row[0], State(row[1]), *row[2:]) for row in rows]
    return past.history(
        traces, start=start, end=end, points=points, scale=most / count if stride > 1 else 1.0
    )


def _some_of(fleet_id: str, most: int, stride: int) -> FromClause:
    """Return a fleet's jobs, or every so manieth of them, each by the index on its position."""
    mine = jobs.c.fleet_id == fleet_id
    columns = [jobs.c[name] for name in ("state", "error_code", *_MOMENTS)]
    if stride <= 1:
        return select(*columns).where(mine).subquery("some")
    numbers = select(literal(stride).label("position")).cte("numbers", recursive=True)
    following = select(numbers.c.position + stride).where(numbers.c.position + stride <= most)
    numbers = numbers.union_all(following)
    joined = numbers.join(jobs, and_(mine, jobs.c.position == numbers.c.position))
    return select(*columns).select_from(joined).subquery("some")


def _traced(tx: Transaction, of: FromClause, start: datetime, step_seconds: float) -> Any:  # noqa: ANN401 - a select
    """Return the statement that brings jobs together which went through the same at the same points."""
    waited = or_(
        of.c.state == State.CANCELLED.value,
        and_(of.c.error_code.in_(_WAITED_TO_THE_END), of.c.created_at.is_(None)),
    )
    never_sent = case((waited, true()), else_=false())
    points = [_point(tx, of.c[name], start, step_seconds) for name in _MOMENTS]
    numbered = select(of.c.state, never_sent.label("never_sent"), *points).subquery("numbered")
    return select(func.count(), *numbered.c).group_by(*numbered.c)


def _point(
    tx: Transaction, column: ColumnElement[Any], start: datetime, step_seconds: float
) -> ColumnElement[Any]:
    """Return at which point it is so first, for a moment on a point at that one."""
    steps = (_epoch(tx, column) - start.timestamp()) / max(step_seconds, _SHORTEST_STEP) - _HAIR
    if tx.on_sqlite:  # which may have no function for it, and cuts off behind the point
        return cast(steps + _ALMOST_ONE, Integer).label(column.name)
    return cast(func.ceil(steps), Integer).label(column.name)


def _epoch(tx: Transaction, column: ColumnElement[Any]) -> ColumnElement[float]:
    if tx.on_sqlite:
        # A moment is text there, with six digits after the point; SQLite's own arithmetic is not exact to the second.
        seconds = cast(func.strftime("%s", func.substr(column, 1, 19)), Integer)
        return cast(seconds, Float) + cast(func.substr(column, 21, 6), Integer) / 1_000_000.0
    return cast(func.extract("epoch", column), Float)


@dataclass(frozen=True)
class Span:
    """One job's moments, for a line of a chart."""

    id: str
    position: int
    label: str
    state: str
    error_code: str | None
    submitted_at: datetime
    sent_at: datetime | None
    """When its last create was about to be sent."""
    created_at: datetime | None
    running_at: datetime | None
    ended_at: datetime | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        names = ("submitted_at", "sent_at", "created_at", "running_at", "ended_at")
        return {**vars(self), **{name: moment(getattr(self, name)) for name in names}}


def spans(tx: Transaction, fleet_id: str, *, limit: int = 500, after: int = 0) -> tuple[Span, ...]:
    """Return a fleet's jobs in order, those behind the position ``after``."""
    mine = and_(jobs.c.fleet_id == fleet_id, jobs.c.position > after)
    columns = [jobs.c[name] for name in Span.__dataclass_fields__]
    rows = tx.execute(select(*columns).where(mine).order_by(jobs.c.position).limit(limit))
    return tuple(Span(*row) for row in rows)


# How fast it goes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """The creates that fell into one window of a token."""

    began_at: datetime
    creates: int


@dataclass(frozen=True)
class Pace:
    """How a token's windows were spent lately."""

    account: str
    token: str
    allowed: int
    """Creates per window; 0: no limit."""
    seconds: float
    since: datetime
    """From here on all creates are in ``windows``."""
    windows: tuple[Burst, ...]
    refused: int
    """429s ever."""
    refused_at: datetime | None


def pace(tx: Transaction, account_ids: Sequence[str]) -> tuple[Pace, ...]:
    """Return how the windows of each token of these accounts were spent in the last ten minutes."""
    since, sends = _sends(tx, account_ids)
    route = rate_windows.c.route == CREATE
    found = (
        select(tokens.c.account_id, rate_windows)
        .join(tokens, tokens.c.id == rate_windows.c.token_id)
        .where(tokens.c.account_id.in_(account_ids), route)
        .order_by(tokens.c.account_id, tokens.c.id, rate_windows.c.bucket)
    )
    return tuple(
        Pace(
            account=row.account_id,
            token=row.token_id,
            allowed=row.allowed,
            seconds=row.seconds,
            since=since,
            windows=bursts(sends.get(row.token_id, ()), row.seconds),
            refused=row.refused,
            refused_at=row.refused_at,
        )
        for row in tx.execute(found)
    )


def bursts(sends: Sequence[datetime], seconds: float) -> tuple[Burst, ...]:
    """Return sends, oldest first, by the windows that they fell into: each begins with the first one after the last."""
    found: list[Burst] = []
    for at in sends:
        if found and at < found[-1].began_at + timedelta(seconds=seconds):
            found[-1] = Burst(found[-1].began_at, found[-1].creates + 1)
        else:
            found.append(Burst(at, 1))
    return tuple(found)


def _sends(tx: Transaction, account_ids: Sequence[str]) -> tuple[datetime, dict[str, list[datetime]]]:
    """Return when creates were sent lately, by token, and from when on that is all of them."""
    newest = tx.execute(select(func.max(job_events.c.id))).scalar() or 0
    older = select(job_events.c.at).where(job_events.c.id <= newest - LOOKED_AT)
    cut = tx.execute(older.order_by(job_events.c.id.desc()).limit(1)).scalar()
    since = max(tx.now - PACE_SPAN, cut) if cut is not None else tx.now - PACE_SPAN
    lately = and_(job_events.c.id > newest - LOOKED_AT, job_events.c.at >= since)
    rows = tx.execute(
        select(jobs.c.token_id, job_events.c.at)
        .join(jobs, jobs.c.id == job_events.c.job_id)
        .where(lately, job_events.c.event == Event.SENT.value, jobs.c.account_id.in_(account_ids))
        .order_by(job_events.c.at)
    )
    sends: dict[str, list[datetime]] = {}
    for token, at in rows:
        sends.setdefault(token, []).append(at)
    return since, sends


# The whole -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerView:
    """A worker process."""

    name: str
    started_at: datetime
    seen_at: datetime
    alive: bool


@dataclass(frozen=True)
class JobRef:
    """A job that somebody should know of, and since when."""

    id: str
    label: str
    fleet: str
    since: datetime
    parked: bool = False


@dataclass(frozen=True)
class CatalogView:
    """One catalog of one account."""

    account: str
    kind: str
    fetched_at: datetime


@dataclass(frozen=True)
class EndpointView:
    """How deliveries to one endpoint go."""

    id: str
    tenant: str
    pending: int
    failing: int
    """Those of them that failed before, and are tried again."""
    dead: int
    """Given up; they can be sent again."""
    disabled_at: datetime | None
    disabled_reason: str | None
    last_error: str | None


@dataclass(frozen=True)
class ChoreView:
    """A recurring duty, and how its last run went."""

    name: str
    due_at: datetime
    owner: str | None
    """Who does it now."""
    succeeded_at: datetime | None
    failed_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class System:
    """What holds everything up."""

    workers: tuple[WorkerView, ...]
    """Also those that died within the last day. One that was stopped is not shown."""
    oldest_waiting: JobRef | None
    uncertain: int
    parked: int
    unsettled: tuple[JobRef, ...]
    """Some of the uncertain ones: the parked ones first, then those that are so for the longest time."""
    catalogs: tuple[CatalogView, ...]
    endpoints: tuple[EndpointView, ...]
    chores: tuple[ChoreView, ...]

    @property
    def alive(self) -> int:
        """How many workers are alive."""
        return sum(worker.alive for worker in self.workers)


def system(tx: Transaction, tenant: str | None = None) -> System:
    """Return what holds everything up; with ``tenant``, of jobs and endpoints only that tenant's."""
    count, parked, unsettled = _uncertain(tx, tenant)
    return System(
        workers=_workers(tx),
        oldest_waiting=oldest_waiting(tx, tenant),
        uncertain=count,
        parked=parked,
        unsettled=unsettled,
        catalogs=_catalogs(tx),
        endpoints=_endpoints(tx, tenant),
        chores=_chores(tx),
    )


def _workers(tx: Transaction) -> tuple[WorkerView, ...]:
    rows = tx.execute(select(workers).order_by(workers.c.seen_at.desc(), workers.c.name))
    return tuple(
        WorkerView(row.name, row.started_at, row.seen_at, tx.now - row.seen_at <= ALIVE) for row in rows
    )


def oldest_waiting(tx: Transaction, tenant: str | None = None) -> JobRef | None:
    """Return the job that has waited for the longest time, whatever it waits for."""
    mine = [] if tenant is None else [jobs.c.tenant_id == tenant]
    snoozed = and_(in_state(State.QUEUED), jobs.c.run_after.is_not(None))
    some = select(jobs.c.id).where(snoozed, *mine).order_by(jobs.c.run_after).limit(LOOKED_AT).subquery()
    others = (select(some.c.id), select(jobs.c.id).where(in_state(State.SUBMITTED), *mine))
    heads = (line.first for line in waiting.lines(tx, tenant=tenant))
    found = [*heads, *(tx.execute(_first(one)).scalar() for one in others)]
    oldest = min((one for one in found if one is not None), default=None)
    return None if oldest is None else _refs(tx, jobs.c.submitted_at, jobs.c.id == oldest)[0]


def _first(statement: Any) -> Any:  # noqa: ANN401 - selects have no one type
    (column,) = statement.selected_columns
    return statement.order_by(column).limit(1)


def _uncertain(tx: Transaction, tenant: str | None) -> tuple[int, int, tuple[JobRef, ...]]:
    mine = [in_open_state(State.UNCERTAIN)] + ([] if tenant is None else [jobs.c.tenant_id == tenant])
    count, parked = tx.execute(select(func.count(), func.count(jobs.c.parked_at)).where(*mine)).one()
    since = func.coalesce(jobs.c.last_unknown_at, jobs.c.changed_at, type_=jobs.c.changed_at.type)
    return count, parked, _refs(tx, since, *mine)


def _refs(tx: Transaction, since: ColumnElement[Any], *where: Any) -> tuple[JobRef, ...]:  # noqa: ANN401 - conditions
    columns = (jobs.c.id, jobs.c.label, fleets.c.name, since.label("since"), jobs.c.parked_at.is_not(None))
    statement = select(*columns).join(fleets, fleets.c.id == jobs.c.fleet_id).where(*where)
    rows = tx.execute(statement.order_by(jobs.c.parked_at.is_(None), since, jobs.c.id).limit(_NAMED))
    return tuple(JobRef(*row) for row in rows)


def _catalogs(tx: Transaction) -> tuple[CatalogView, ...]:
    columns = (catalogs.c.account_id, catalogs.c.kind, catalogs.c.fetched_at)
    rows = tx.execute(select(*columns).order_by(catalogs.c.account_id, catalogs.c.kind))
    return tuple(CatalogView(*row) for row in rows)


def _endpoints(tx: Transaction, tenant: str | None) -> tuple[EndpointView, ...]:
    mine = [] if tenant is None else [webhooks.c.tenant_id == tenant]
    rows = tx.execute(select(webhooks).where(*mine).order_by(webhooks.c.tenant_id, webhooks.c.id)).all()
    backlog = _backlog(tx, [row.id for row in rows])
    return tuple(
        EndpointView(
            id=row.id,
            tenant=row.tenant_id,
            pending=pending,
            failing=failing,
            dead=dead,
            disabled_at=row.disabled_at,
            disabled_reason=row.disabled_reason,
            last_error=error,
        )
        for row in rows
        for pending, failing, dead, error in [backlog.get(row.id, (0, 0, 0, None))]
    )


def _backlog(tx: Transaction, ids: Sequence[str]) -> dict[str, tuple[int, int, int, str | None]]:
    """Return how many deliveries to each endpoint are pending, failing and dead, and the words of one that failed."""
    each = webhook_deliveries.c
    found: dict[str, tuple[int, int, int, str | None]] = {}
    for state in ("pending", "dead"):
        # Each has its own partial index, which the statement has to name.
        which = text(f"webhook_deliveries.state = '{state}'")
        failing = func.sum(case((each.tries > 0, 1), else_=0))
        columns = (each.webhook_id, func.count(), failing, func.max(each.error))
        for webhook_id, count, failed, error in tx.execute(
            select(*columns).where(each.webhook_id.in_(ids), which).group_by(each.webhook_id)
        ):
            pending = (count, int(failed), 0, error) if state == "pending" else (0, 0, count, error)
            before = found.get(webhook_id, (0, 0, 0, None))
            sums = [one + other for one, other in zip(before[:3], pending[:3], strict=True)]
            found[webhook_id] = (sums[0], sums[1], sums[2], before[3] or error)
    return found


def _chores(tx: Transaction) -> tuple[ChoreView, ...]:
    columns = [chores.c[name] for name in ChoreView.__dataclass_fields__]
    return tuple(ChoreView(*row) for row in tx.execute(select(*columns).order_by(chores.c.name)))
