"""The reads that people wait for: fleets, jobs, timelines, status. Each one walks an index."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, text

from jobs.alarms import alarms
from jobs.database import Transaction
from jobs.records import accounts, catalogs, chores, fleets, installation, job_events, jobs, rate_windows
from jobs.states import State
from jobs.tables import MAY_OWN
from jobs.views import ErrorView, EventView, FleetView, JobDetail, JobView, Status, WindowView

CATALOG_KINDS: Final = ("types", "regions", "images", "availability")
_CHUNK: Final = 1000
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
)


def as_id(text: str) -> str | None:
    """Return ``text`` as rows spell it if it is a UUID in its usual form, in capitals or not; None: it is none."""
    try:
        found = str(UUID(text))
    except ValueError:
        return None
    return found if found == text.lower() else None


def _fleet_states(tx: Transaction, fleet_ids: list[str]) -> dict[str, dict[str, int]]:
    statement = (
        select(jobs.c.fleet_id, jobs.c.state, func.count())
        .where(jobs.c.fleet_id.in_(fleet_ids))
        .group_by(jobs.c.fleet_id, jobs.c.state)
    )
    counted: dict[str, dict[str, int]] = {fleet_id: {} for fleet_id in fleet_ids}
    for fleet_id, state, count in tx.execute(statement):
        counted[fleet_id][state] = count
    order = {state.value: position for position, state in enumerate(State)}
    return {
        key: dict(sorted(states.items(), key=lambda item: order[item[0]])) for key, states in counted.items()
    }


_FLEET_COLUMNS: Final = (
    *(fleets.c.id, fleets.c.name, fleets.c.tenant_id, fleets.c.count, fleets.c.created_at),
    *(fleets.c.request_id, fleets.c.traceparent),
)


def _fleet_views(tx: Transaction, statement: Select[Any]) -> list[FleetView]:
    rows = tx.execute(statement).all()
    states = _fleet_states(tx, [row.id for row in rows])
    return [
        FleetView(
            id=row.id,
            name=row.name,
            tenant=row.tenant_id,
            count=row.count,
            states=states[row.id],
            created_at=row.created_at,
            request_id=row.request_id,
            traceparent=row.traceparent,
        )
        for row in rows
    ]


def find_fleet(tx: Transaction, ref: str, *, tenant: str) -> FleetView | None:
    """Return a tenant's fleet by its id, or the newest by its name."""
    if "\x00" in ref:
        return None  # no name holds it, and PostgreSQL refuses to look for it
    as_one = as_id(ref)
    which = fleets.c.name == ref if as_one is None else fleets.c.id == as_one
    newest = (
        select(*_FLEET_COLUMNS)
        .where(fleets.c.tenant_id == tenant, which)
        .order_by(fleets.c.id.desc())
        .limit(1)
    )
    return next(iter(_fleet_views(tx, newest)), None)


def list_fleets(tx: Transaction, *, tenant: str, limit: int, after: str | None = None) -> list[FleetView]:
    """Return a tenant's fleets, newest first, those older than the fleet with id ``after``."""
    statement = select(*_FLEET_COLUMNS).where(fleets.c.tenant_id == tenant)
    if after is not None:
        statement = statement.where(fleets.c.id < after)
    return _fleet_views(tx, statement.order_by(fleets.c.id.desc()).limit(limit))


def pauses(tx: Transaction) -> Mapping[str, ErrorView]:
    """Return why each paused account is paused."""
    statement = select(accounts.c.id, accounts.c.paused_code, accounts.c.paused_reason)
    rows = tx.execute(statement.where(accounts.c.paused_at.is_not(None)))
    return {row.id: ErrorView(row.paused_code, row.paused_reason, None) for row in rows}


def job_view(row: Any, paused: Mapping[str, ErrorView]) -> JobView:  # noqa: ANN401 - a row of job_rows
    """Return what people see of a row."""
    error = ErrorView(row.error_code, row.error_reason, row.error_field) if row.error_code else None
    if error is None and row.state == State.QUEUED:
        # A job that waits for a paused account says why, although nothing was sent for it.
        error = paused.get(row.account_id)
    direct = {name: getattr(row, name) for name in _DIRECT}
    return JobView(
        **direct, fleet=row.fleet_name, tenant=row.tenant_id, error=error, parked=row.parked_at is not None
    )


def job_rows() -> Select[Any]:
    """Return the statement that selects what :func:`job_view` needs."""
    return select(jobs, fleets.c.name.label("fleet_name")).join(fleets, fleets.c.id == jobs.c.fleet_id)


def find_job(tx: Transaction, job_id: str, *, tenant: str) -> JobView | None:
    """Return one of a tenant's jobs."""
    known = as_id(job_id)
    if known is None:
        return None
    row = tx.execute(job_rows().where(jobs.c.id == known, jobs.c.tenant_id == tenant)).first()
    return None if row is None else job_view(row, pauses(tx))


def job_detail(tx: Transaction, job: JobView) -> JobDetail:
    """Return the job with its timeline."""
    statement = select(job_events).where(job_events.c.job_id == job.id).order_by(job_events.c.id)
    lines = (
        EventView(row.at, row.event, row.state, row.actor, row.detail or {}) for row in tx.execute(statement)
    )
    return JobDetail(job, tuple(lines))


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


def catalog_state(tx: Transaction, *, account_id: str, stale_after: timedelta) -> tuple[str, datetime | None]:
    """Return ``fresh``, ``stale``, ``none`` or ``failed``, and when the oldest part was fetched."""
    rows = (
        tx.execute(select(catalogs.c.fetched_at).where(catalogs.c.account_id == account_id)).scalars().all()
    )
    if len(rows) == len(CATALOG_KINDS):
        oldest = min(rows)
        return ("fresh" if tx.now - oldest < stale_after else "stale"), oldest
    name = f"catalogs:{account_id}"
    failed = tx.execute(select(chores.c.failed_at).where(chores.c.name == name)).scalar()
    return ("none" if failed is None else "failed"), None


def status(tx: Transaction, *, account_id: str, stale_after: timedelta) -> Status:
    """Return the service as a whole."""
    house = tx.execute(select(installation)).one()
    state, fetched_at = catalog_state(tx, account_id=account_id, stale_after=stale_after)
    windows = tx.execute(select(rate_windows).order_by(rate_windows.c.route, rate_windows.c.bucket))
    names = (
        "route",
        "bucket",
        "allowed",
        "seconds",
        "spent",
        "opened_at",
        "closed_until",
        "refused",
        "refused_at",
    )
    counted = tx.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    return Status(
        installation=house.id,
        alarms=alarms(tx, account_id),
        windows=tuple(WindowView(**{name: getattr(row, name) for name in names}) for row in windows),
        catalog=state,
        catalog_fetched_at=fetched_at,
        worker_seen_at=house.alive_at,
        states={row[0]: row[1] for row in counted},
    )
