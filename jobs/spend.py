"""What instances have cost so far: closed attempts as they were booked, present ones by each hour begun.

Linode bills each hour begun, and in a month no more than the type's monthly price. That cap is not applied here: an
instance that has run for most of a month may be shown somewhat too dear.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, case, cast, func, literal, select, text

from jobs.cost import cost_of
from jobs.database import Transaction
from jobs.records import fleets, in_state, jobs, tenants
from jobs.states import State
from jobs.tables import PAID_FOR
from jobs.views import FleetSpend, Spend, TenantSpend

_OWNING: Final = (State.BOOTING, State.RUNNING, State.FAILED, State.DELETING)
_LIVE: Final = and_(in_state(*_OWNING), jobs.c.linode_id.is_not(None), jobs.c.created_at.is_not(None))
"""It owns an instance that is being paid for."""
_CLOSED: Final = text(f"({PAID_FOR})")
_HOUR: Final = 3_600_000_000


def of_job(row: Any, now: datetime) -> tuple[int, int]:  # noqa: ANN401 - a row with the columns of jobs
    """Return what a job has cost so far, and the part of it that was paid for instances that failed."""
    spent, wasted = row.spent_microusd, row.wasted_microusd
    if row.state not in _OWNING or row.linode_id is None or row.created_at is None:
        return spent, wasted
    cost = cost_of(row.hourly_microusd, row.created_at, now)
    return spent + cost, wasted + (cost if row.state == State.FAILED else 0)


def hourly(tx: Transaction) -> int:
    """Return what all instances cost an hour now."""
    total = select(func.coalesce(func.sum(jobs.c.hourly_microusd), 0)).where(_LIVE)
    return int(tx.execute(total).scalar_one())


def of_fleets(tx: Transaction, ids: Sequence[str]) -> dict[str, Spend]:
    """Return what each of some fleets has cost so far; those that have cost nothing are left out."""
    which = jobs.c.fleet_id.in_(ids)
    return _summed(
        tx.execute(select(jobs.c.fleet_id, *_present(tx)).where(which, _LIVE).group_by(jobs.c.fleet_id)),
        tx.execute(select(jobs.c.fleet_id, *_PAST).where(which, _CLOSED).group_by(jobs.c.fleet_id)),
    )


Spending: TypeAlias = Callable[[Transaction, Mapping[str, int]], Mapping[str, Spend]]
"""Tells what fleets have cost so far, given how many jobs each has; those that have cost nothing may be left out."""


def as_of_now(tx: Transaction, counts: Mapping[str, int]) -> Mapping[str, Spend]:
    """Return what fleets have cost up to this moment, whatever it takes to sum it up."""
    return of_fleets(tx, list(counts))


def of_tenants(tx: Transaction, tenant: str | None) -> list[TenantSpend]:
    """Return what a tenant, or (None) each of them, has cost so far, by name."""
    mine = [] if tenant is None else [fleets.c.tenant_id == tenant]
    key = fleets.c.tenant_id

    def over(columns: Iterable[ColumnElement[Any]], which: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's own shapes
        joined = select(key, *columns).join_from(fleets, jobs, jobs.c.fleet_id == fleets.c.id)
        return tx.execute(joined.where(*mine, which).group_by(key))

    found = _summed(over(_present(tx), _LIVE), over(_PAST, _CLOSED))
    names = [tenant] if tenant is not None else tx.execute(select(tenants.c.id)).scalars().all()
    return [TenantSpend(name, found.get(name, Spend())) for name in sorted(names)]


def list_fleets(
    tx: Transaction,
    tenant: str | None,
    *,
    limit: int,
    after: str | None = None,
    spending: Spending = as_of_now,
) -> list[FleetSpend]:
    """Return what fleets of a tenant, or (None) of all, have cost so far: newest first, older than ``after``."""
    columns = (fleets.c.id, fleets.c.name, fleets.c.tenant_id, fleets.c.count)
    statement = select(*columns).where(fleets.c.retired_at.is_(None))
    if tenant is not None:
        statement = statement.where(fleets.c.tenant_id == tenant)
    if after is not None:
        statement = statement.where(fleets.c.id < after)
    rows = tx.execute(statement.order_by(fleets.c.id.desc()).limit(limit)).all()
    found = spending(tx, {row.id: row.count for row in rows})
    return [FleetSpend(row.id, row.name, row.tenant_id, found.get(row.id, Spend())) for row in rows]


def _summed(present: Iterable[Any], past: Iterable[Any]) -> dict[str, Spend]:
    found = {
        key: Spend(int(cost), int(failed), int(hourly), instances)
        for key, cost, failed, hourly, instances in present
    }
    for key, spent, wasted in past:
        found[key] = found.get(key, Spend()) + Spend(int(spent), int(wasted))
    return found


_PAST: Final = (func.sum(jobs.c.spent_microusd), func.sum(jobs.c.wasted_microusd))


def _present(tx: Transaction) -> Sequence[ColumnElement[Any]]:
    cost = _hours(tx) * jobs.c.hourly_microusd
    failed = case((jobs.c.state == State.FAILED.value, cost), else_=0)
    return func.sum(cost), func.sum(failed), func.sum(jobs.c.hourly_microusd), func.count()


def _hours(tx: Transaction) -> ColumnElement[int]:
    """Return the hours begun since the create, one at least, as :func:`jobs.cost.cost_of` counts them: exactly."""
    if tx.on_sqlite:
        # A moment is text there, with six digits after the point; SQLite itself would round them to three.
        seconds = cast(func.strftime("%s", func.substr(jobs.c.created_at, 1, 19)), Integer)
        micros = cast(func.substr(jobs.c.created_at, 21, 6), Integer)
        age = literal(_micros(tx.now)) - (seconds * 1_000_000 + micros)
        return func.max((age + (_HOUR - 1)) // _HOUR, 1)
    age = func.extract("epoch", literal(tx.now, jobs.c.created_at.type) - jobs.c.created_at)
    return func.greatest(cast(func.ceil(age / 3600), BigInteger), 1)


def _micros(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
