"""Which jobs of a fleet count as there, and what a submit under its name means: by default it is refused."""

from typing import Final

from sqlalchemy import and_, func, or_, select, text

from jobs.database import Transaction
from jobs.records import fleets, jobs
from jobs.requests import FleetRequest, InvalidRequest, RequestFault
from jobs.states import State
from jobs.tables import MAY_OWN

FLEET_EXISTS: Final = "fleet_exists"
_MAY_OWN: Final = text(f"({MAY_OWN})")
_LEAVING: Final = and_(jobs.c.state == State.DELETING.value, jobs.c.afterwards.is_(None))
THERE: Final = and_(_MAY_OWN, or_(jobs.c.ending.is_(None), jobs.c.ending != "cancel"), ~_LEAVING)
"""It has an instance, or may get one, and nobody wants it gone."""


def fault_of(tx: Transaction, tenant: str, request: FleetRequest) -> RequestFault | None:
    """Return why a request's name refuses it: a fleet of the name has instances, or may get some. None: it does not.

    It holds until the transaction ends where the tenant's row is locked.
    """
    found = None if request.on_existing == "new" else _newest(tx, tenant, request.name)
    if found is None:
        return None
    there = count_there(tx, found)
    pointer, field = request.place(None, "name")
    return RequestFault(
        code=FLEET_EXISTS,
        pointer=pointer,
        field=field,
        value=request.name,
        message=f"there is a fleet '{request.name}' ({found}) already, {_described(there)}",
        remedy=f"{_instead(request, there)}choose another name, or say `on_existing: new` (`--on-existing new`) for "
        f"{request.total} more in a fleet of their own",
    )


def _described(there: int) -> str:
    if not there:
        return "whose last instances are being deleted"
    return f"with {there} instance{'' if there == 1 else 's'} there or on their way"


def _instead(request: FleetRequest, there: int) -> str:
    if not there:
        return "wait until they are gone, "
    return f"scale it (`nodewright scale {request.name} --to {there + request.total}`), "


def refuse(tx: Transaction, tenant: str, request: FleetRequest) -> None:
    """Raise InvalidRequest where :func:`fault_of` finds something."""
    fault = fault_of(tx, tenant, request)
    if fault is not None:
        raise InvalidRequest([fault])


def count_there(tx: Transaction, fleet_id: str) -> int:
    """Return how many jobs of a fleet count as there."""
    found: int = tx.execute(
        select(func.count()).select_from(jobs).where(jobs.c.fleet_id == fleet_id, THERE)
    ).scalar_one()
    return found


def _newest(tx: Transaction, tenant: str, name: str) -> str | None:
    """Return the id of the newest fleet of a name of which a job may own an instance."""
    named = select(fleets.c.id).where(fleets.c.tenant_id == tenant, fleets.c.name == name)
    same = tx.execute(named).scalars().all()
    if not same:
        return None
    # Joined in one statement, PostgreSQL walks all jobs where one fleet has most of them: 150 ms for a million.
    owning = select(jobs.c.fleet_id).where(jobs.c.fleet_id.in_(same), _MAY_OWN)
    found: str | None = tx.execute(owning.order_by(jobs.c.fleet_id.desc()).limit(1)).scalar()
    return found
