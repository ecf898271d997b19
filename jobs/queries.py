"""The reads that people wait for: fleets, jobs, timelines, status. Each one walks an index."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, bindparam, exists, func, literal, select, text

from jobs import spend, tenants
from jobs.alarms import alarms
from jobs.choices import regions_of, types_of
from jobs.database import Transaction
from jobs.records import (
    accounts,
    catalogs,
    chores,
    fleets,
    installation,
    job_events,
    jobs,
    rate_windows,
    tokens,
)
from jobs.requests import GroupRequest
from jobs.spend import Spending
from jobs.states import State
from jobs.tables import MAY_OWN
from jobs.views import (
    Asked,
    ErrorView,
    EventView,
    FleetView,
    GroupView,
    JobDetail,
    JobView,
    Spend,
    Status,
    WindowView,
)

CATALOG_KINDS: Final = ("types", "regions", "images", "availability")
_CHUNK: Final = 1000
_MANY: Final = 1000
"""Counting so many jobs of one fleet is worth avoiding."""
_COUNTED: Final = (1000, 50_000)
"""So many jobs of each state of a large fleet are counted at first, and then, if several have more."""
_DIRECT: Final = (
    "id",
    "fleet_id",
    "position",
    "label",
    "type",
    "region",
    "image",
    "state",
    "attempt",
    "sends",
    "linode_id",
    "ipv4",
    "ipv6",
    "got_type",
    "got_region",
    "hourly_microusd",
    "submitted_at",
    "sent_at",
    "created_at",
    "running_at",
    "ended_at",
    "run_after",
    "ending",
    "choice",
    "expires_at",
)
_DERIVED: Final = (
    *("tenant_id", "account_id", "parked_at", "error_code", "error_reason", "error_field"),
    *("spent_microusd", "wasted_microusd", "group_index"),
)
"""What a job's row says by way of something else."""


def as_id(text: str) -> str | None:
    """Return ``text`` as rows spell it if it is a UUID in its usual form, in capitals or not; None: it is none."""
    try:
        found = str(UUID(text))
    except ValueError:
        return None
    return found if found == text.lower() else None


_ORDER: Final = {state.value: position for position, state in enumerate(State)}


def _fleet_states(tx: Transaction, rows: Sequence[Any]) -> dict[str, dict[str, int]]:
    """Return each fleet's jobs by state."""
    small = [row.id for row in rows if row.count < _MANY]
    large = [row.id for row in rows if row.count >= _MANY]
    counted = _count(tx, jobs.c.fleet_id.in_(small)) if small else {}
    counted |= _count_large(tx, large)
    return {key: _in_order(states) for key, states in counted.items()}


def _count_large(tx: Transaction, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the jobs by state of fleets that are large, without counting the state that most of their jobs are in.

    None of a fleet's rows is ever taken away, and its positions have no gap: that state has what no other one has.
    """
    found: dict[str, dict[str, int]] = {}
    for most in _COUNTED:
        left = [fleet_id for fleet_id in ids if fleet_id not in found]
        for fleet_id, total, *counts in tx.execute(_AT_MOST, {"ids": left, "most": most}) if left else ():
            states = dict(zip(_ORDER, counts, strict=True))
            full = [state for state, count in states.items() if count == most]
            if len(full) > 1 and most == _COUNTED[-1]:
                states |= _count(tx, and_(jobs.c.fleet_id == fleet_id, jobs.c.state.in_(full[1:])))[fleet_id]
            if len(full) < 2 or most == _COUNTED[-1]:  # noqa: PLR2004 - one may be uncounted
                found[fleet_id] = _with_rest(states, full[:1], total)
    return found


def _with_rest(states: dict[str, int], full: list[str], total: int) -> dict[str, int]:
    others = sum(count for state, count in states.items() if state not in full)
    return states | dict.fromkeys(full, total - others)


def _at_most(state: State) -> ColumnElement[int]:
    mine = select(literal(1)).where(jobs.c.fleet_id == fleets.c.id, jobs.c.state == state.value)
    some = mine.correlate(fleets).limit(bindparam("most")).subquery()
    return select(func.count()).select_from(some).scalar_subquery().label(state.value)


_LAST_POSITION: Final = (
    select(func.max(jobs.c.position))
    .where(jobs.c.fleet_id == fleets.c.id)
    .correlate(fleets)
    .scalar_subquery()
)
_AT_MOST: Final = select(fleets.c.id, _LAST_POSITION, *map(_at_most, State)).where(
    fleets.c.id.in_(bindparam("ids", expanding=True))
)


def _count(tx: Transaction, where: ColumnElement[bool]) -> dict[str, dict[str, int]]:
    statement = select(jobs.c.fleet_id, jobs.c.state, func.count()).where(where)
    counted: dict[str, dict[str, int]] = {}
    for fleet_id, state, count in tx.execute(statement.group_by(jobs.c.fleet_id, jobs.c.state)):
        counted.setdefault(fleet_id, {})[state] = count
    return counted


def _in_order(states: dict[str, int]) -> dict[str, int]:
    return {state: states[state] for state in sorted(states, key=_ORDER.__getitem__) if states[state]}


_FLEET_COLUMNS: Final = (
    *(fleets.c.id, fleets.c.name, fleets.c.tenant_id, fleets.c.count, fleets.c.created_at),
    *(fleets.c.request_id, fleets.c.traceparent, fleets.c.held_at),
    *(fleets.c.not_before, fleets.c.deadline_at, fleets.c.ttl_seconds, fleets.c.boot_timeout_seconds),
    *(fleets.c.stopped_at, fleets.c.stop_reason),
)


def _fleet_views(tx: Transaction, statement: Select[Any], spending: Spending) -> list[FleetView]:
    rows = tx.execute(statement).all()
    states = _fleet_states(tx, rows)
    spent = spending(tx, {row.id: row.count for row in rows})
    return [
        FleetView(
            id=row.id,
            name=row.name,
            tenant=row.tenant_id,
            count=row.count,
            states=states.get(row.id, {}),
            created_at=row.created_at,
            request_id=row.request_id,
            traceparent=row.traceparent,
            held_at=row.held_at,
            not_before=row.not_before,
            deadline=row.deadline_at,
            ttl_seconds=row.ttl_seconds,
            boot_timeout_seconds=row.boot_timeout_seconds,
            stopped_at=row.stopped_at,
            stop_reason=row.stop_reason,
            spend=spent.get(row.id, Spend()),
        )
        for row in rows
    ]


def find_fleet(
    tx: Transaction, ref: str, *, tenant: str, spending: Spending = spend.as_of_now
) -> FleetView | None:
    """Return a tenant's fleet by its id, or the newest by its name."""
    newest = _named(ref, tenant, *_FLEET_COLUMNS)
    return None if newest is None else next(iter(_fleet_views(tx, newest, spending)), None)


def find_fleet_id(tx: Transaction, ref: str, *, tenant: str) -> str | None:
    """Return the id of a tenant's fleet by its id, or of the newest by its name. Counts nothing."""
    newest = _named(ref, tenant, fleets.c.id)
    found: str | None = None if newest is None else tx.execute(newest).scalar()
    return found


def _named(ref: str, tenant: str, *columns: Any) -> Select[Any] | None:  # noqa: ANN401 - SQLAlchemy's columns
    if "\x00" in ref:
        return None  # no name holds it, and PostgreSQL refuses to look for it
    as_one = as_id(ref)
    which = fleets.c.name == ref if as_one is None else fleets.c.id == as_one
    own = select(*columns).where(fleets.c.tenant_id == tenant, fleets.c.retired_at.is_(None), which)
    return own.order_by(fleets.c.id.desc()).limit(1)


def list_fleets(
    tx: Transaction,
    *,
    tenant: str,
    limit: int,
    after: str | None = None,
    spending: Spending = spend.as_of_now,
) -> list[FleetView]:
    """Return a tenant's fleets, newest first, those older than the fleet with id ``after``."""
    statement = select(*_FLEET_COLUMNS).where(fleets.c.tenant_id == tenant, fleets.c.retired_at.is_(None))
    if after is not None:
        statement = statement.where(fleets.c.id < after)
    return _fleet_views(tx, statement.order_by(fleets.c.id.desc()).limit(limit), spending)


def pauses(tx: Transaction) -> Mapping[str, ErrorView]:
    """Return why each paused account is paused: by a person, or by the API."""
    house = exists().where(installation.c.held_at.is_not(None))
    columns = (accounts.c.id, accounts.c.paused_code, accounts.c.paused_reason)
    held = (accounts.c.held_at.is_not(None), house.label("everything"))
    paused = accounts.c.paused_at.is_not(None) | accounts.c.held_at.is_not(None) | house
    return {row[0]: _pause(*row) for row in tx.execute(select(*columns, *held).where(paused))}


def _pause(account: str, code: str | None, reason: str | None, held: bool, everything: bool) -> ErrorView:  # noqa: FBT001 - a row
    if everything or held:
        what = "everything" if everything else f"account {account}"
        return ErrorView("paused", f"{what} is paused by a person", None)
    return ErrorView(code or "", reason, None)


_FLEET_PAUSED: Final = ErrorView("paused", "the fleet is paused by a person", None)


def job_view(row: Any, paused: Mapping[str, ErrorView], now: datetime) -> JobView:  # noqa: ANN401 - a row of job_rows
    """Return what people see of a row."""
    error = ErrorView(row.error_code, row.error_reason, row.error_field) if row.error_code else None
    if error is None and row.state == State.QUEUED:
        # A job that waits for a pause to end says so, although nothing was sent for it.
        error = paused.get(row.account_id) or (_FLEET_PAUSED if row.fleet_held_at else None)
    direct = dict(
        zip(_DIRECT, row, strict=False)
    )  # they come first; by name a thousand rows take twice the time
    spent, wasted = spend.of_job(row, now)
    return JobView(
        **direct,
        fleet=row.fleet_name,
        group=row.group_index,
        tenant=row.tenant_id,
        error=error,
        parked=row.parked_at is not None,
        spent_microusd=spent,
        wasted_microusd=wasted,
    )


def job_rows(of: FromClause = jobs) -> Select[Any]:
    """Return the statement that selects what :func:`job_view` needs, of all jobs or of those that ``of`` selects."""
    more = (fleets.c.name.label("fleet_name"), fleets.c.held_at.label("fleet_held_at"))
    shown = select(*(of.c[name] for name in (*_DIRECT, *_DERIVED)), *more).join(
        fleets, fleets.c.id == of.c.fleet_id
    )
    return shown.where(fleets.c.retired_at.is_(None))


def fleet_groups(tx: Transaction, fleet_id: str) -> tuple[GroupView, ...]:
    """Return the groups of a fleet's request, in their order."""
    groups = tx.execute(select(fleets.c.groups).where(fleets.c.id == fleet_id)).scalar_one()
    restored = [GroupRequest.restore(group) for group in groups]
    return tuple(GroupView(index, one.name, tuple(one.tags)) for index, one in enumerate(restored))


def find_job(tx: Transaction, job_id: str, *, tenant: str) -> JobView | None:
    """Return one of a tenant's jobs."""
    known = as_id(job_id)
    if known is None:
        return None
    row = tx.execute(job_rows().where(jobs.c.id == known, jobs.c.tenant_id == tenant)).first()
    return None if row is None else job_view(row, pauses(tx), tx.now)


def job_detail(tx: Transaction, job: JobView) -> JobDetail:
    """Return the job with its timeline."""
    statement = select(job_events).where(job_events.c.job_id == job.id).order_by(job_events.c.id)
    lines = (
        EventView(row.at, row.event, row.state, row.actor, row.detail or {}) for row in tx.execute(statement)
    )
    return JobDetail(job, tuple(lines), _asked(tx, job.id))


def request_of(tx: Transaction, job_id: str) -> Mapping[str, Any]:
    """Return the group that a job was made from, as its row keeps it: without secrets, which are only named."""
    joined = select(fleets.c.groups, jobs.c.group_index).join(jobs, jobs.c.fleet_id == fleets.c.id)
    groups, position = tx.execute(joined.where(jobs.c.id == job_id)).one()
    group: Mapping[str, Any] = groups[position]
    return group


def _asked(tx: Transaction, job_id: str) -> Asked:
    group = GroupRequest.restore(request_of(tx, job_id))
    return Asked(types_of(group), regions_of(group), spread=group.regions is not None)


def taken_labels(tx: Transaction, account_id: str, labels: list[str]) -> set[str]:
    """Return which of ``labels`` belong to jobs that may still own an instance."""
    may_own = text(f"({MAY_OWN})")
    taken: set[str] = set()
    for start in range(0, len(labels), _CHUNK):
        some = jobs.c.label.in_(labels[start : start + _CHUNK])
        taken |= set(
            tx.execute(select(jobs.c.label).where(jobs.c.account_id == account_id, some, may_own)).scalars()
        )
    return taken


# Status --------------------------------------------------------------------------------------------------------------


def account_ids(tx: Transaction, tenant: str | None) -> tuple[str, ...]:
    """Return the accounts that a tenant's jobs may go to; None: every account."""
    if tenant is not None:
        return tenants.accounts_of(tx, tenant)
    return tuple(tx.execute(select(accounts.c.id).order_by(accounts.c.id)).scalars()) or (
        tenants.DEFAULT_ACCOUNT,
    )


def catalog_state(
    tx: Transaction, ids: Sequence[str], *, stale_after: timedelta
) -> tuple[str, datetime | None]:
    """Return ``fresh``, ``stale``, ``none`` or ``failed``, and when the oldest part was fetched.

    Of several accounts those that have a catalog decide: they can be submitted to.
    """
    parts = (func.count(), func.min(catalogs.c.fetched_at, type_=catalogs.c.fetched_at.type))
    mine = select(*parts).where(catalogs.c.account_id.in_(ids)).group_by(catalogs.c.account_id)
    whole = [oldest for count, oldest in tx.execute(mine) if count == len(CATALOG_KINDS)]
    if whole:
        return ("fresh" if tx.now - min(whole) < stale_after else "stale"), min(whole)
    names = [f"catalogs:{account_id}" for account_id in ids]
    failed = select(chores.c.name).where(chores.c.name.in_(names), chores.c.failed_at.is_not(None))
    return ("none" if tx.execute(failed).first() is None else "failed"), None


_WINDOW_NAMES: Final = (
    *("route", "bucket", "allowed", "seconds", "spent"),
    *("opened_at", "closed_until", "refused", "refused_at", "withheld", "margin_seconds"),
)


def _windows(tx: Transaction, ids: Sequence[str]) -> tuple[WindowView, ...]:
    columns = [rate_windows.c[name] for name in _WINDOW_NAMES]
    statement = (
        select(tokens.c.account_id.label("account"), rate_windows.c.token_id.label("token"), *columns)
        .join(tokens, tokens.c.id == rate_windows.c.token_id)
        .where(tokens.c.account_id.in_(ids))
        .order_by(tokens.c.account_id, tokens.c.id, rate_windows.c.route, rate_windows.c.bucket)
    )
    return tuple(WindowView(**row) for row in tx.execute(statement).mappings())


def count_states(tx: Transaction, tenant: str | None = None) -> dict[str, int]:
    """Return how many jobs are in each state that occurs: a tenant's, or all.

    Walks an index of all jobs, 50 ms for each million; a tenant's are counted row by row.
    """
    counted = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    if tenant is not None:
        counted = counted.where(jobs.c.tenant_id == tenant)
    return {row[0]: row[1] for row in tx.execute(counted)}


def status(
    tx: Transaction, *, stale_after: timedelta, states: dict[str, int], tenant: str | None = None
) -> Status:
    """Return the service as a whole, or (with ``tenant``) what one tenant may know of it.

    ``states``: what :func:`count_states` returned.
    """
    house = tx.execute(select(installation)).one()
    ids = account_ids(tx, tenant)
    state, fetched_at = catalog_state(tx, ids, stale_after=stale_after)
    return Status(
        installation=house.id,
        alarms=alarms(tx, *ids, tenant=tenant),
        windows=_windows(tx, ids),
        catalog=state,
        catalog_fetched_at=fetched_at,
        worker_seen_at=house.alive_at,
        states=states,
    )
