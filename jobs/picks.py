"""Which jobs an operation is for, and why it did nothing for some of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy import Select, func, select

from jobs.database import Database, Transaction
from jobs.listing import JobFilter, conditions
from jobs.queries import as_id
from jobs.records import JobRecord, fleets, jobs
from jobs.states import State

CHUNK: Final = 500
MOST_IDS: Final = 1_000
"""So many jobs may be named by their ids at once; more are asked for by a filter."""


class UnknownJobError(LookupError):
    """There is no such job, or it is not one of this fleet, or it is another tenant's."""


@dataclass(frozen=True)
class Pick:
    """Some jobs of one fleet: those that fit ``where`` (its ``fleet_id`` is set), of these ``ids`` if there are any.

    For :func:`shares` and :func:`sample` it may be jobs of several fleets: then ``fleet_id`` is None.
    """

    tenant: str
    where: JobFilter
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Refusal:
    """Why nothing was done for a job that was asked for."""

    job_id: str
    label: str
    state: str
    code: str
    message: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        """Return a JSON-able mapping."""
        return asdict(self)


def refusal(job: JobRecord, code: str, message: str, remedy: str) -> Refusal:
    """Return why nothing is done for a job."""
    return Refusal(job.id, job.label, job.state.value, code, message, remedy)


def check(tx: Transaction, pick: Pick) -> None:
    """Raise UnknownJobError where an id is none of the fleet's: then nothing is done for the others either."""
    if pick.ids is None:
        return
    mine = (jobs.c.tenant_id == pick.tenant, jobs.c.fleet_id == pick.where.fleet_id)
    ids = [one for one in pick.ids if as_id(one)]  # PostgreSQL refuses to look for what is no UUID
    known = set(tx.execute(select(jobs.c.id).where(jobs.c.id.in_(ids), *mine)).scalars())
    unknown = [one for one in pick.ids if one not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownJobError(f"there is no job {unknown[0]!r}{more} in this fleet")


def selected(tx: Transaction, pick: Pick, *columns: Any) -> Select[Any]:  # noqa: ANN401 - SQLAlchemy's columns
    """Return the statement for some columns of the jobs that are picked."""
    found = select(*columns).join(fleets, fleets.c.id == jobs.c.fleet_id)
    mine = (jobs.c.tenant_id == pick.tenant, fleets.c.retired_at.is_(None))
    found = found.where(*mine, *conditions(tx, pick.where))
    return found if pick.ids is None else found.where(jobs.c.id.in_(pick.ids))


@dataclass(frozen=True)
class Share:
    """Those of the jobs that are picked which are one fleet's; their ids only where those were given."""

    fleet_id: str
    fleet: str
    states: Mapping[str, int]
    ids: tuple[str, ...] | None


def shares(tx: Transaction, pick: Pick) -> list[Share]:
    """Return the jobs that are picked by their fleets, of which there may be many. Unknown ids are left out."""
    chosen = _usable(pick)
    of = [jobs.c.fleet_id, fleets.c.name]
    counted = selected(tx, chosen, *of, jobs.c.state, func.count()).group_by(*of, jobs.c.state)
    states: dict[tuple[str, str], dict[str, int]] = {}
    for fleet_id, name, state, count in tx.execute(counted.order_by(jobs.c.fleet_id)):
        states.setdefault((fleet_id, name), {})[state] = count
    ids: dict[str, list[str]] = {}
    if chosen.ids is not None:
        for fleet_id, job_id in tx.execute(selected(tx, chosen, jobs.c.fleet_id, jobs.c.id)):
            ids.setdefault(fleet_id, []).append(job_id)
    return [
        Share(fleet_id, name, found, None if chosen.ids is None else tuple(ids.get(fleet_id, ())))
        for (fleet_id, name), found in states.items()
    ]


def sample(tx: Transaction, pick: Pick, states: Sequence[State], limit: int) -> list[str]:
    """Return the labels of a few of the jobs that are picked and are in one of the states."""
    found = selected(tx, _usable(pick), jobs.c.label).where(jobs.c.state.in_([one.value for one in states]))
    if pick.where.fleet_id is not None:
        found = found.order_by(jobs.c.position)
    return list(tx.execute(found.limit(limit)).scalars())


def _usable(pick: Pick) -> Pick:
    # PostgreSQL refuses to look for what is no UUID.
    return pick if pick.ids is None else replace(pick, ids=tuple(filter(None, map(as_id, pick.ids))))


def pages(database: Database, pick: Pick) -> Iterator[Sequence[str]]:
    """Yield the ids of the jobs that are picked, in chunks, by position; each chunk is read when it is asked for."""
    last = 0
    while True:
        with database.read() as tx:
            statement = selected(tx, pick, jobs.c.id, jobs.c.position).where(jobs.c.position > last)
            rows = tx.execute(statement.order_by(jobs.c.position).limit(CHUNK)).all()
        if not rows:
            return
        last = rows[-1].position
        yield [row.id for row in rows]
