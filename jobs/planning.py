"""Planning a fleet against the tables: what a submit would do is done, and then taken back."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import func, select

from jobs import admission, existing, fleets, house, windows
from jobs.alarms import alarms
from jobs.catalog import Price
from jobs.database import Database, Transaction
from jobs.estimate import Estimate, Lane, estimate
from jobs.fleets import Draft, Guards
from jobs.periods import written
from jobs.places import Places
from jobs.plan import Plan, Quota, dearest_price, plan_lines, portions, total_price
from jobs.records import fleets as fleet_rows
from jobs.records import in_state, jobs, tenants, tokens
from jobs.requests import FleetRequest, RequestWarning
from jobs.states import HOLDING, State
from jobs.validation import Report

HOLDS: Final = frozenset(
    {"no_worker", "api_failing", "unauthorized", "missing_scope", "account_limit", "paused"}
)
"""Alarms with which nothing, or hardly anything, is created."""
_WAITING: Final = (State.SUBMITTED, State.QUEUED)


def plan_fleet(database: Database, draft: Draft, report: Report, where: Places, *, guards: Guards) -> Plan:
    """Return what a submit of the draft would do, refusals by the tenant's guards included; nothing is stored."""
    with database.write() as tx:
        rehearsal = tx.connection.begin_nested()
        try:
            return _rehearse(tx, draft, report, where, guards)
        finally:
            rehearsal.rollback()


def _rehearse(tx: Transaction, draft: Draft, report: Report, where: Places, guards: Guards) -> Plan:
    request, catalog = draft.request, draft.catalog
    if catalog is None:
        raise ValueError("a plan needs a catalog")
    found = portions(request, report, catalog, tx.now)
    good = sum(portion.accepted for portion in found)
    fleets.release(tx, draft.tenant)
    instances, spend = _quotas(tx, draft.tenant, guards)
    # What could never be accepted is not held against the guards: its own faults are the news.
    over = fleets.rehearse(tx, draft, guards=guards) if good else ()
    same = existing.fault_of(tx, draft.tenant, request)
    faults = (*((same,) if same else ()), *report.faults, *over)
    refused = same or over or (report.faults and request.on_invalid == "refuse")
    accepted = 0 if refused else good
    return Plan(
        request=request,
        lines=plan_lines(found, catalog),
        accepted=accepted,
        faults=faults,
        warnings=(*report.warnings, *(() if same else _already_there(tx, draft.tenant, request))),
        total=Price() if refused else total_price(found),
        dearest=Price() if refused else dearest_price(found),
        instances=instances,
        spend=spend,
        estimate=_estimate(tx, where.accounts, accepted, request),
        catalog_fetched_at=catalog.fetched_at,
    )


def _quotas(tx: Transaction, tenant: str, guards: Guards) -> tuple[Quota, Quota]:
    row = tx.execute(select(tenants).where(tenants.c.id == tenant)).one()
    most = guards.laid_over(row)
    return Quota(most.max_instances, row.alive), Quota(most.max_hourly_microusd, row.hourly_microusd)


def _already_there(tx: Transaction, tenant: str, request: FleetRequest) -> Iterator[RequestWarning]:
    """Warn of instances, there or on their way, of another fleet of the tenant by the same name."""
    holding = jobs.c.state.in_([state.value for state in HOLDING])
    same = (fleet_rows.c.tenant_id == tenant, fleet_rows.c.name == request.name)
    joined = select(func.count()).select_from(jobs).join(fleet_rows, fleet_rows.c.id == jobs.c.fleet_id)
    count = tx.execute(joined.where(*same, holding)).scalar_one()
    if count:
        pointer, name = request.place(None, "name")
        yield RequestWarning(
            code="fleet_exists",
            pointer=pointer,
            field=name,
            value=request.name,
            message=f"{count} instances of fleets of this name are there or on their way already",
            remedy=f"these would be {request.total} more",
        )


def _estimate(
    tx: Transaction, account_ids: Sequence[str], count: int, request: FleetRequest
) -> Estimate | None:
    lanes = [lane for account_id in account_ids for lane in lanes_of(tx, account_id)]
    if not count or not lanes:
        return None
    holds = [alarm.message for alarm in alarms(tx, *account_ids) if alarm.code in HOLDS]
    if request.not_before is not None and request.not_before > tx.now:
        holds.append(f"nothing is sent before {written(request.not_before)}, as asked for")
    boots = [house.boot_seconds(tx, account_id) for account_id in account_ids]
    return estimate(
        lanes,
        count=count,
        jobs_ahead=sum(_waiting(tx, account_id) for account_id in account_ids),
        boot_seconds=max((seconds for seconds in boots if seconds is not None), default=None),
        now=tx.now,
        holds=list(dict.fromkeys(holds)),
    )


def lanes_of(tx: Transaction, account_id: str) -> list[Lane]:
    """Return the windows on creates of each of an account's tokens, as they stand now."""
    ids = tx.execute(select(tokens.c.id).where(tokens.c.account_id == account_id)).scalars().all()
    known = [admission.read_windows(tx, token_id, admission.CREATE) for token_id in ids]
    return [[windows.rolled(one, tx.now) for one in lane] for lane in known if lane]


def _waiting(tx: Transaction, account_id: str) -> int:
    waits = (jobs.c.account_id == account_id, in_state(*_WAITING))
    return int(tx.execute(select(func.count()).select_from(jobs).where(*waits)).scalar_one())
