"""Forgetting fleets that ended long ago: as a whole, in small steps, and never a row that may own an instance.

A fleet is retired first, in one short transaction: from then on nobody is shown it, nothing of it can be retried, and
its idempotency key is free. Then its events, its jobs and the fleet itself are deleted, so many rows at a time. A
worker that dies between two steps leaves a retired fleet, and any other goes on with it. Lock order: tenant, fleet,
jobs.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, text, update

from jobs.columns import Identifier, UtcDateTime
from jobs.database import Database, Transaction
from jobs.fleets import release
from jobs.records import fleets, in_state, job_events, jobs
from jobs.states import State
from jobs.views import moment

SHORTEST: Final = timedelta(days=1)
"""A fleet is kept for so long at least: what the API applies late is found by its job's row."""
BATCH: Final = 500
"""So many rows are deleted in one transaction."""
_JOBS_AT_ONCE: Final = 100
_ENDED: Final = (State.REJECTED, State.CANCELLED, State.DELETED)
_OPEN: Final = tuple(state for state in State if state not in {*_ENDED, State.FAILED})
_OVER: Final = or_(in_state(*_ENDED), and_(in_state(State.FAILED), jobs.c.linode_id.is_(None)))
"""It owns nothing, may own nothing, and nothing moves it on."""
_MINE: Final = jobs.c.fleet_id == fleets.c.id
_MAY_OWN: Final = or_(
    exists().where(_MINE, in_state(*_OPEN)),
    exists().where(_MINE, in_state(State.FAILED), jobs.c.linode_id.is_not(None)),
)
_RETIRED: Final = (
    select(fleets.c.id).where(fleets.c.retired_at.is_not(None)).order_by(fleets.c.retired_at).limit(1)
)


def any_retired(tx: Transaction) -> bool:
    """Whether there are rows of a retired fleet still."""
    return tx.execute(_RETIRED).first() is not None


def candidates(tx: Transaction, keep: timedelta, *, limit: int) -> list[str]:
    """Return fleets, the oldest first, that ended so long ago that they are to be forgotten."""
    found = select(fleets.c.id).where(*_long_over(tx, keep)).order_by(fleets.c.id).limit(limit)
    return list(tx.execute(found).scalars())


def _long_over(tx: Transaction, keep: timedelta) -> Iterator[ColumnElement[bool]]:
    until = tx.now - keep
    yield fleets.c.retired_at.is_(None)
    yield fleets.c.created_at < until
    yield ~_MAY_OWN
    yield ~exists().where(_MINE, jobs.c.changed_at >= until)
    # The newest event stays: SQLite would give its number to the next one, and whoever follows events miss that.
    newest = select(job_events.c.job_id).order_by(job_events.c.id.desc()).limit(1).scalar_subquery()
    yield ~exists().where(_MINE, jobs.c.id == newest)


def retire(tx: Transaction, fleet_id: str, keep: timedelta) -> bool:
    """Hide a fleet for ever; False: somebody has done something with it meanwhile, so that it stays."""
    mine = fleets.c.id == fleet_id
    tenant = tx.execute(select(fleets.c.tenant_id).where(mine)).scalar_one()
    release(tx, tenant)  # what the guards count of it is counted no more; locks the tenant's row
    if tx.execute(select(fleets.c.id).where(mine).with_for_update()).first() is None:
        return False
    gone = {"retired_at": tx.now, "idempotency_key": None, "request_hash": None, "sealed": None}
    still = update(fleets).where(mine, *_long_over(tx, keep)).values(**gone)
    return bool(tx.execute(still).rowcount)


def forget_some(tx: Transaction) -> int:
    """Delete some rows of a retired fleet; return how many, 0: there is no such fleet any more."""
    fleet_id = tx.execute(_RETIRED).scalar()
    if fleet_id is None:
        return 0
    mine = select(jobs.c.id).where(jobs.c.fleet_id == fleet_id).order_by(jobs.c.position)
    ids = tx.execute(mine.limit(_JOBS_AT_ONCE)).scalars().all()
    if not ids:
        return int(tx.execute(delete(fleets).where(fleets.c.id == fleet_id)).rowcount)
    told = select(job_events.c.id).where(job_events.c.job_id.in_(ids)).limit(BATCH)
    events = tx.execute(delete(job_events).where(job_events.c.id.in_(told))).rowcount
    return int(events) or _forget_jobs(tx, fleet_id, ids)


def _forget_jobs(tx: Transaction, fleet_id: str, ids: Any) -> int:  # noqa: ANN401 - a list of ids
    over = delete(jobs).where(jobs.c.id.in_(ids), _OVER, ~jobs.c.counted)
    deleted = int(tx.execute(over).rowcount)
    if not deleted:
        # Nothing should have moved them. What may own an instance is shown again instead of being forgotten.
        tx.execute(update(fleets).where(fleets.c.id == fleet_id).values(retired_at=None))
    return deleted or len(ids)


# The archive ---------------------------------------------------------------------------------------------------------

_MOMENTS: Final = ("submitted_at", "dispatched_at", "sent_at", "created_at", "running_at", "ended_at")
_RESULTS: Final = text(
    "SELECT * FROM job_results WHERE fleet_id = :fleet AND position > :after ORDER BY position LIMIT :most"
).columns(id=Identifier, fleet_id=Identifier, **{name: UtcDateTime() for name in _MOMENTS})
_FLEET_COLUMNS: Final = ("id", "tenant_id", "name", "count", "priority", "groups", "created_at")


def archived(database: Database, fleet_id: str) -> Iterator[dict[str, Any]]:
    """Yield a fleet as documents: the fleet itself first, then each job's row of ``job_results`` with its events.

    It reads in short transactions, so that a fleet of a million jobs holds nothing up.
    """
    with database.read() as tx:
        columns = [fleets.c[name] for name in _FLEET_COLUMNS]
        row = tx.execute(select(*columns).where(fleets.c.id == fleet_id)).mappings().one()
    yield {"fleet": _plain(row)}
    last = 0
    while True:
        with database.read() as tx:
            which = {"fleet": _bound(tx, fleet_id), "after": last, "most": BATCH}
            rows = tx.execute(_RESULTS, which).mappings().all()
            events = _events(tx, [row["id"] for row in rows])
        for row in rows:
            yield {"job": _plain(row), "events": events.get(row["id"], [])}
            last = row["position"]
        if not rows:
            return


def _bound(tx: Transaction, fleet_id: str) -> str:
    return fleet_id.replace("-", "") if tx.on_sqlite else fleet_id


def _events(tx: Transaction, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    lines = select(job_events).where(job_events.c.job_id.in_(ids)).order_by(job_events.c.id)
    for row in tx.execute(lines).mappings():
        found.setdefault(row["job_id"], []).append(_plain({key: row[key] for key in row if key != "job_id"}))
    return found


def _plain(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping
    return {key: _value(value) for key, value in row.items()}


def _value(value: Any) -> Any:  # noqa: ANN401 - a column's value
    if isinstance(value, datetime):
        return moment(value)
    return float(value) if isinstance(value, Decimal) else value
